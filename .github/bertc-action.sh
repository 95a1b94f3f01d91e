#!/usr/bin/env bash
# The body of action.yml: build if asked to, gate against the baseline if there is one, write the job's summary.
# Ends with the larger exit code of the two. A verdict (exit code 1 of the build) does not keep the gate from speaking.
set -uo pipefail

BERTC=${BERTC:-bertc}
SUMMARY=${GITHUB_STEP_SUMMARY:-/dev/null}
OUTPUTS=${GITHUB_OUTPUT:-/dev/null}
status=0

if [ -z "${REPORT:-}" ]; then
    arguments=()
    [ -n "${CHECKPOINT:-}" ] && arguments+=("$CHECKPOINT")
    [ -n "${RECIPE:-}" ] && arguments+=(--recipe "$RECIPE")
    [ -n "${CALIBRATION_DATA:-}" ] && arguments+=(--calibration-data "$CALIBRATION_DATA")
    [ -n "${VALIDATION_DATA:-}" ] && arguments+=(--validation-data "$VALIDATION_DATA")
    if [ ${#arguments[@]} -eq 0 ]; then
        echo "::error::nothing to build: give a recipe, a checkpoint or a report"
        exit 2
    fi
    read -r -a further <<<"${BUILD_ARGUMENTS:-}"
    "$BERTC" build "${arguments[@]}" -o "$OUTPUT" ${further[@]+"${further[@]}"} || status=$?
    REPORT=$OUTPUT/report.json
    [ -f "$REPORT" ] || REPORT=$OUTPUT # several engines: the gate says which there are
    if [ "$status" -gt 1 ]; then
        echo "::error::bertc build ended with exit code $status"
        exit "$status"
    fi
fi
echo "report=$REPORT" >>"$OUTPUTS"

if [ -n "${BASELINE:-}" ]; then
    gate=0
    markdown=$(mktemp)
    read -r -a further <<<"${GATE_ARGUMENTS:-}"
    "$BERTC" gate "$REPORT" --baseline "$BASELINE" --junit "$JUNIT" --markdown "$markdown" \
        ${further[@]+"${further[@]}"} || gate=$?
    cat "$markdown" >>"$SUMMARY"
    rm -f "$markdown"
    [ "$gate" -gt "$status" ] && status=$gate
fi

case $status in
0) echo "The verdict: passed." ;;
1) echo "::error::the gate's verdict is not a pass" ;;
*) echo "::error::bertc gate ended with exit code $status" ;;
esac
exit "$status"
