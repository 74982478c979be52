#!/bin/bash
# Makes the generated headers (ngx_auto_config.h, ngx_auto_headers.h) that the
# installed nginx was built with, so that Meson can compile our modules itself.
# usage: nginx-headers.sh NGINX_SOURCE_DIR OUTPUT_DIR
#
# nginx's own configure runs with the flags that Debian recorded beside its
# headers; nothing of nginx is compiled.
set -eu
source=$1
out=$(realpath -m "$2")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$source/." "$work"
cd "$work"
. ./conf_flags # sets NGX_CONF_FLAGS
./configure "${NGX_CONF_FLAGS[@]}" >configure.log 2>&1 || { cat configure.log >&2; exit 1; }
mkdir -p "$out"
cp objs/ngx_auto_config.h objs/ngx_auto_headers.h "$out/"
