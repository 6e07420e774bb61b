#!/bin/sh
# Run by the nginx image before nginx starts: lays the certificate of /certificates where nginx.conf asks for it, or,
# where there is none, makes one for a week that no browser trusts.
set -eu
umask 077
if [ -r /certificates/tls.crt ] && [ -r /certificates/tls.key ]; then
  cp /certificates/tls.crt /certificates/tls.key "${TLS_FOLDER:-/tmp}/"
else
  echo "no /certificates/tls.crt and tls.key that can be read: making a certificate for ${EDGE_NAME:-localhost} that nobody trusts" >&2
  openssl req -x509 -newkey rsa:2048 -nodes -days 7 -subj "/CN=${EDGE_NAME:-localhost}" \
    -addext "subjectAltName=DNS:${EDGE_NAME:-localhost},IP:127.0.0.1" \
    -keyout "${TLS_FOLDER:-/tmp}/tls.key" -out "${TLS_FOLDER:-/tmp}/tls.crt" 2>/dev/null
fi
