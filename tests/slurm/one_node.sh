#!/usr/bin/env bash
# A real Slurm of one node on this machine, for the tests: needs root, and Debian's slurm-wlm and munge.
#
#   tests/slurm/one_node.sh start FOLDER    installs what is missing, starts munged, slurmctld, slurmd
#   tests/slurm/one_node.sh stop FOLDER     ends those three, by the numbers that it wrote down
#
# FOLDER takes the configuration (export SLURM_CONF=FOLDER/slurm.conf), state, logs and numbers.
set -euo pipefail
action=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)

start() {
  [ "$(id -u)" = 0 ] || { echo "a Slurm of one's own needs root" >&2; exit 1; }
  if ! command -v slurmctld slurmd munged >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update && apt-get install -y --no-install-recommends slurm-wlm munge; } >"$folder/apt.log" 2>&1 ||
      { echo "slurm-wlm and munge cannot be installed, see $folder/apt.log" >&2; exit 1; }
  fi
  host=$(hostname -s)
  cores=$(nproc)
  memory=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024 - 512))
  mkdir -p "$folder/state" "$folder/spool" /run/munge
  cat >"$folder/slurm.conf" <<CONF
ClusterName=tests
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
JobRequeue=1
KillWait=2
MinJobAge=30
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores RealMemory=$memory State=UNKNOWN
PartitionName=tests Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
  export SLURM_CONF=$folder/slurm.conf
  if [ ! -f /etc/munge/munge.key ]; then
    mkdir -p /etc/munge
    dd if=/dev/urandom of=/etc/munge/munge.key bs=1 count=1024 status=none
    chmod 400 /etc/munge/munge.key
  fi
  if ! munge -n </dev/null 2>/dev/null | unmunge >/dev/null 2>&1; then
    # As root, since the machine may have no user of its own for it.
    chown -R root:root /etc/munge /run/munge /var/log/munge /var/lib/munge 2>/dev/null || true
    munged --force --pid-file="$folder/munged.pid" --log-file="$folder/munged.log"
  fi
  slurmctld -f "$SLURM_CONF"
  slurmd -f "$SLURM_CONF" -N "$host"
  for _ in $(seq 60); do
    if sinfo --noheader --format %t 2>/dev/null | grep -q idle; then return; fi
    sleep 0.5
  done
  echo "Slurm's node does not come up, see $folder/slurmctld.log" >&2
  exit 1
}

stop() {
  for name in slurmd slurmctld munged; do
    if [ -f "$folder/$name.pid" ]; then
      kill "$(cat "$folder/$name.pid")" 2>/dev/null || true
    fi
  done
}

"$action"
