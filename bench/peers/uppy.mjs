// Uppy and its plugin for tus, for a page without modules.
import { Uppy } from "@uppy/core";
import Tus from "@uppy/tus";

Object.assign(window, { Uppy, Tus });
