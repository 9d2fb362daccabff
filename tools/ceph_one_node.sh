#!/usr/bin/env bash
# Starts Ceph on one machine, with an S3 gateway and without systemd, in a second or two:
#     tools/ceph_one_node.sh DIRECTORY PORT [memstore|bluestore [ADDRESS]]
# DIRECTORY is emptied. The gateway listens at ADDRESS (127.0.0.1), all else on loopback. The ports from PORT to PORT+19
# are used. Access key testkey, secret testsecret; parts of a multipart upload have at least 4 KiB, so that tests need no
# large ones, and a completion that died with its gateway blocks the next for 20 s only. To end it, end the processes in DIRECTORY/run/*.pid, the gateway first, with SIGKILL: without its cluster it
# would wait.
# Needs the Debian packages ceph-mon, ceph-osd, radosgw, ceph-common and curl.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
dir=$1 port=$2 kind=${3:-memstore} address=${4:-127.0.0.1}
fsid=$(cat /proc/sys/kernel/random/uuid)
osd=$(cat /proc/sys/kernel/random/uuid)
mon="[v2:127.0.0.1:$((port + 1)),v1:127.0.0.1:$((port + 2))]"

rm -rf "$dir"
mkdir -p "$dir"/{mon,osd/0,run,log}
cat >"$dir/ceph.conf" <<END
[global]
fsid = $fsid
mon_initial_members = a
mon_host = $mon
public_network = 127.0.0.0/8
ms_bind_ipv4 = true
ms_bind_ipv6 = false
ms_bind_port_min = $((port + 3))
ms_bind_port_max = $((port + 19))
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
auth_supported = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
paxos_propose_interval = 0.02
paxos_min_wait = 0.01
mon_tick_interval = 1
osd_mon_heartbeat_interval = 5
mon_data = $dir/mon
osd_data = $dir/osd/\$id
osd_objectstore = $kind
memstore_device_bytes = 6442450944
memstore_page_set = false
bluestore_block_size = 12884901888
bluestore_fsck_on_mount = false
osd_memory_target = 939524096
osd_class_load_list = *
osd_class_default_list = *
run_dir = $dir/run
admin_socket = $dir/run/\$name.asok
pid_file = $dir/run/\$name.pid
log_file = $dir/log/\$name.log
crash_dir = $dir/run
mon_cluster_log_file = $dir/log/cluster.log
[client]
rgw_enable_usage_log = false
rgw_dns_name = $address
rgw_thread_pool_size = 64
rgw_multipart_min_part_size = 4096
rgw_mp_lock_max_time = 20
ms_mon_client_mode = crc
[client.rgw]
rgw_frontends = beast endpoint=$address:$port
END

# until_it TRIES COMMAND...: repeat the command until it succeeds.
until_it() {
    for _ in $(seq 1 "$1"); do
        "${@:2}" >/dev/null 2>"$dir/log/start.err" && return
        sleep 0.2
    done
    echo "ceph_one_node.sh: in vain: ${*:2}" >&2
    cat "$dir/log/start.err" >&2
    exit 1
}
osd_is_up() { timeout 5 ceph -c "$dir/ceph.conf" osd stat | grep -q "1 up"; }

monmaptool --create --fsid "$fsid" --addv a "$mon" "$dir/monmap" >/dev/null
ceph-mon -c "$dir/ceph.conf" -i a --mkfs --monmap "$dir/monmap"
ceph-mon -c "$dir/ceph.conf" -i a
until_it 100 timeout 5 ceph -c "$dir/ceph.conf" osd new "$osd" 0
ceph-osd -c "$dir/ceph.conf" -i 0 --mkfs --osd-uuid "$osd" >/dev/null 2>&1
ceph-osd -c "$dir/ceph.conf" -i 0 >/dev/null 2>&1
until_it 100 osd_is_up
radosgw -c "$dir/ceph.conf" -n client.rgw
until_it 300 curl -fs -o /dev/null "http://$address:$port/"
timeout 60 radosgw-admin -c "$dir/ceph.conf" user create --uid=test --display-name=test \
    --access-key=testkey --secret=testsecret >/dev/null
