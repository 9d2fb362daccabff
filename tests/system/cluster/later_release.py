"""The program as a later release, whose tables have one version more: `later_release.py additive|incompatible OPTIONS`.

Its first start upgrades the tables if older instances can serve beside it (`additive`), and is refused otherwise.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from incoming.storage.postgres import schema

STATEMENTS = ("ALTER TABLE progress ADD COLUMN later text NOT NULL DEFAULT ''", "CREATE TABLE later (id text)")

if __name__ == "__main__":
    additive = sys.argv.pop(1) == "additive"
    # Before any other module has it by its name.
    schema.MIGRATIONS = (*schema.MIGRATIONS, schema.Migration(STATEMENTS, additive=additive))

    from incoming.cli.main import main

    sys.exit(main())
