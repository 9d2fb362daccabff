// Uppy and its plugin for tus and S3, for a page without modules.
import AwsS3 from "@uppy/aws-s3";
import { Uppy } from "@uppy/core";
import Tus from "@uppy/tus";

Object.assign(window, { Uppy, Tus, AwsS3 });
