#!/bin/sh
# Send a file of events, one JSON object a line, to the gateway: send_ndjson.sh events.ndjson http://localhost:8080 [api key]
# Each event has an id, so the file may be sent again after any failure: what arrived counts once.
set -eu
file=$1
gateway=$2
key=${3:-}

exec curl --fail-with-body --silent --show-error --retry 5 --retry-all-errors \
  ${key:+--header "Authorization: Bearer $key"} \
  --header 'Content-Type: application/x-ndjson' \
  --data-binary "@$file" \
  "$gateway/v1/events"
