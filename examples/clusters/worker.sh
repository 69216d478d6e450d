#!/usr/bin/env bash
# Plain machines, on each further one: joins the cluster that head.sh has started; `ray stop` leaves it.
#
#     worker.sh IP      # the address that head.sh was given
set -euo pipefail
export RAY_AUTH_MODE=token # with the head's ~/.ray/auth_token
exec ray start --address="$1:6379" --block
