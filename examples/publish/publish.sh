#!/bin/sh
# Publishes one event: publish.sh TOPIC TEXT. CONTROL is the server's control address.
# A retry with the same key is published once.
exec curl --fail --silent --show-error --retry 5 --retry-connrefused --max-time 10 \
    --header "Idempotency-Key: $(cat /proc/sys/kernel/random/uuid)" \
    --data-raw "$2" --url-query "topic=$1" "${CONTROL:-http://127.0.0.1:8081}/publish"
