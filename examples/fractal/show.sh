#!/bin/sh
# One self, two minds: a core and a node as two processes, with NATS between them. See README.md beside this file.
set -eu

gpak=${GPAK:-gpak}
nats=${NATS_SERVER:-nats-server}
here=$(cd "$(dirname "$0")" && pwd)
place=${1:-$(mktemp -d)}
core_port=${CORE_PORT:-7410}
nats_port=${NATS_PORT:-4222}
mkdir -p "$place/core/config" "$place/core/cache" "$place/node/cache" "$place/work"
place=$(cd "$place" && pwd)

# Models that are on this machine already are not fetched again.
models=${GPAK_HOME:-$HOME/.cache/gpak}
[ -z "${GPAK_HOME:-}" ] || models=$GPAK_HOME/cache
if [ -d "$models/models" ]; then
    ln -sfn "$models/models" "$place/core/cache/models"
    ln -sfn "$models/models" "$place/node/cache/models"
fi

core() { GPAK_HOME=$place/core "$gpak" "$@"; }
node() { (cd "$place/work" && GPAK_HOME=$place/node "$gpak" "$@"); }

core_pid='' nats_pid=''
down() {
    for pid in $core_pid $nats_pid; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    core_pid='' nats_pid=''
}
trap down EXIT

# Waits until a log says that its process is ready.
ready() {
    until grep -q "$2" "$3" 2>/dev/null; do
        kill -0 "$1" 2>/dev/null || { cat "$3" >&2; exit 1; }
        sleep 0.1
    done
}

up() {
    : >"$place/nats.log"
    "$nats" -js -a 127.0.0.1 -p "$nats_port" -sd "$place/nats" >"$place/nats.log" 2>&1 &
    nats_pid=$!
    ready "$nats_pid" 'Server is ready' "$place/nats.log"
    : >"$place/core.log"
    GPAK_HOME=$place/core "$gpak" core --listen "127.0.0.1:$core_port" --nats "nats://127.0.0.1:$nats_port" \
        >"$place/core.log" 2>&1 &
    core_pid=$!
    ready "$core_pid" 'listens on' "$place/core.log"
}

# What makes a command one of the node.
as_node() {
    node "$@" --core "https://localhost:$core_port" --node scout-1 --core-key "$key" --papers "$place/papers" \
        --nats "nats://127.0.0.1:$nats_port"
}

echo '== The core: who the agent is, what it may never do, and the certificate of its node'
core identity init Ada --persona 'You are calm and exact.' --rule 'Never open the vault.' \
    --mission 'Keep the greenhouse alive.'
cp -R "$here/scenarios" "$place/core/config/"
key=$(core --json identity key | sed -n 's/.*"key":"\([^"]*\)".*/\1/p')
core core enrol scout-1 --output "$place/papers"

echo '== The identity goes down'
up
as_node identity sync

echo '== The network is cut, and the node works on'
down
task=${TASK:-'Say who you are and what your mission is. The pump in bay 3 started at the second try; say that, too.'}
as_node run --yes ${NODE_MODEL:+--model "$NODE_MODEL"} "$task"

echo '== The network is back: what was experienced goes up'
up
tries=0
until as_node identity sync; do
    tries=$((tries + 1))
    [ "$tries" -lt 20 ] || exit 1
done

echo '== The core reflects on it'
core identity reflect ${CORE_MODEL:+--model "$CORE_MODEL"} || [ $? -eq 3 ]
core identity log

echo '== The next run of the node shows it'
as_node run --yes ${NODE_MODEL:+--model "$NODE_MODEL"} "$task"
node identity show
echo "== All of it is in $place"
