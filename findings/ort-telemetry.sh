#!/usr/bin/env bash
# onnxruntime: importing it leaves a device id and a database of events in the home folder.
#
# Versions: onnxruntime 1.32.0 (1.29.0 and 1.31.1 do the same, 1.27.0 does not).
# Measured: 2026-11, Python 3.11, Linux, x86-64.
# Expected: a library for inference that is imported, with no session opened, writes nothing; telemetry was Windows' alone
# until 1.28.
# Seen: `import onnxruntime` makes ~/.cache/Microsoft/DeveloperTools/.onnxruntime with a device id and an SQLite database,
# which stays open; an uploader for it is in the library. ORT_DISABLE_TELEMETRY=1 or CI=1, set before the import, prevent
# all of it; disable_telemetry_events() comes too late for the id.
#
#   onnxruntime 1.32.0
#   guess: nothing is written
#   import                         deviceid onnxruntime.db onnxruntime.db-shm onnxruntime.db-wal
#   disable_telemetry_events()     deviceid onnxruntime.db onnxruntime.db-shm onnxruntime.db-wal
#   ORT_DISABLE_TELEMETRY=1        nothing
#   CI=1                           nothing
#
# Matters to: whoever runs models on machines whose data must not leave them, on read-only or shared homes, or counts
# open files; a pipeline does not show it, since CI is set there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0
unset CI GITHUB_ACTIONS TF_BUILD ORT_DISABLE_TELEMETRY ORT_RUNNING_UNIT_TESTS XDG_CACHE_HOME

left() { # HOME CODE: what Python leaves in a home folder of its own
  mkdir "$1"
  HOME="$folder/$1" venv/bin/python -c "$2
import os, pathlib
print(*sorted(path.name for path in pathlib.Path(os.environ['HOME']).rglob('*') if path.is_file()))"
}

venv/bin/python -c 'import onnxruntime; print("onnxruntime", onnxruntime.__version__)'
echo "guess: nothing is written"
imported=$(left first "import onnxruntime")
disabled=$(left second "import onnxruntime; onnxruntime.disable_telemetry_events()")
variable=$(ORT_DISABLE_TELEMETRY=1 left third "import onnxruntime")
pipeline=$(CI=1 left fourth "import onnxruntime")
printf '%-30s %s\n' "import" "${imported:-nothing}" "disable_telemetry_events()" "${disabled:-nothing}" \
  "ORT_DISABLE_TELEMETRY=1" "${variable:-nothing}" "CI=1" "${pipeline:-nothing}"
case "$imported $disabled" in
  *deviceid*deviceid*) [ -z "$variable$pipeline" ] && exit 0 ;;
esac
echo "the behaviour is no longer so"
exit 1
