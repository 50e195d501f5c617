#!/bin/sh
# A stand-in for systemctl, loginctl and journalctl in stories: writes down what it was asked for, and
# runs what a unit of the user says, as far as the stories need it.
here=$(dirname "$0")
echo "$(basename "$0") $*" >>"$here/calls"
unit=$HOME/.config/systemd/user/tallyd.service
wanted=$HOME/.config/systemd/user/default.target.wants/tallyd.service

runs() { [ -s "$here/pid" ] && kill -0 "$(cat "$here/pid")" 2>/dev/null; }

start() {
    [ ! -e "$here/refuses" ] || { echo 'Job for tallyd.service failed.' >&2; exit 1; }
    data=$(sed -n 's/^Environment=TALLYD_DATA_DIR=//p' "$unit")
    data=${data:-$HOME/.local/share/tallyd}
    rm -f "$data/tallyd.address"
    # shellcheck disable=SC2046 # these units have no quotes
    env -i HOME="$HOME" $(sed -n 's/^Environment=//p' "$unit") $(sed -n 's/^ExecStart=//p' "$unit") \
        >"$here/log" 2>&1 </dev/null &
    echo $! >"$here/pid"
    while runs && [ ! -s "$data/tallyd.address" ]; do sleep 0.02; done
}

stop() {
    runs && kill "$(cat "$here/pid")"
    while runs; do sleep 0.02; done
    rm -f "$here/pid"
}

case "$(basename "$0") $*" in
    'loginctl show-user '*) echo "Linger=$(cat "$here/linger" 2>/dev/null || echo no)" ;;
    journalctl*) [ -e "$here/journal" ] || { echo 'No journal files were found.' >&2; exit 1; }
        cat "$here/journal" ;;
    *'--property=UnitPath')
        [ ! -e "$here/no-manager" ] || { echo 'Failed to connect to bus: No medium found' >&2; exit 1; }
        echo "UnitPath=$HOME/.config/systemd/user /usr/lib/systemd/user" ;;
    *'--user show tallyd.service'*)
        if runs; then echo ActiveState=active; else echo ActiveState=inactive; fi
        if runs; then echo "MainPID=$(cat "$here/pid")"; else echo MainPID=0; fi
        echo SubState=running
        if [ -L "$wanted" ]; then echo UnitFileState=enabled; else echo UnitFileState=disabled; fi
        echo "FragmentPath=$unit"
        echo NRestarts=2
        echo MemoryCurrent='[not set]'
        echo 'ActiveEnterTimestamp=Thu 2026-11-26 06:00:00 UTC'
        echo Result=exit-code
        echo "ExecMainStatus=$(cat "$here/refuses" 2>/dev/null || echo 0)" ;;
    *'--user enable tallyd.service') mkdir -p "$(dirname "$wanted")" && ln -s "$unit" "$wanted" ;;
    *'--user disable --now tallyd.service') stop; rm -f "$wanted" ;;
    *'--user start tallyd.service') start ;;
    *'--user restart tallyd.service') stop; start ;;
    *'--user daemon-reload') ;;
    *) echo "not played: $0 $*" >&2; exit 9 ;;
esac
