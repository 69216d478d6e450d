#!/usr/bin/env bash
# Plain machines, on the first one: starts a Ray cluster that only who has its token may use.
#
#     head.sh IP        # the address at which the others reach this machine
set -euo pipefail
ray get-auth-token --generate > /dev/null 2>&1 # into ~/.ray/auth_token, unless it is there
export RAY_AUTH_MODE=token
ray start --head --node-ip-address="$1" --port=6379
echo "on the others: the same ~/.ray/auth_token, then worker.sh $1"
