# Converges this node once: asks what is recorded, takes the lock, takes the bundle, starts supervise.sh and follows it.
# A POSIX shell script with few forks; fleet/node.py says which variables stand before it and how its lines are read.
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
umask 077
np_newline='
'
np_lock=$np_home/lock
np_dir=$np_home/deploys/$np_deploy
np_shown=
np_mine=$np_token
np_waited=
exec 8>&2

np_say() { printf 'nodepkg-%s %s\n' "$np_token" "$*" >&8; }

# np_end RESULT CODE EXIT WHY: the last line, and the end.
np_end() {
    np_say "ended $1 $2 ${4##*"$np_newline"}"
    exit "$3"
}

np_broken() { np_end broken - 70 "$1"; }

# np_stat LINE: a process by its line in /proc/PID/stat; its name, the second field, may hold anything.
np_stat() {
    np_pid=${1%% *}
    set -- ${1##*) }
    np_status=$1
    shift 19
    np_started=$1
}

# np_alive BOOT PID STARTED: whether it lives. A zombie does not: it only waits to be asked how it ended.
np_alive() {
    [ "$1" = "$np_boot" ] && { read -r np_line <"/proc/$2/stat"; } 2>/dev/null || return 1
    np_stat "$np_line"
    [ "$np_started" = "$3" ] && [ "$np_status" != Z ] && [ "$np_status" != X ]
}

# np_last FILE: its last line that was written whole, in np_line.
np_last() {
    np_line=
    [ -f "$1" ] || return 0
    while read -r np_read; do
        case $np_read in *' .') np_line=${np_read% .} ;; esac
    done <"$1"
}

# np_recorded: ends here if this deploy has a result that counts: success, or whatever this very run came to.
np_recorded() {
    np_last "$np_dir/record"
    set -- $np_line
    if [ "${2-}" != "$np_mine" ]; then
        [ "${1-}" != succeeded ] || np_end again 0 0 ""
        return 0
    fi
    case $1 in
        succeeded | failed | timeout) np_show "$3" ;;
        running) [ "$3" != "$np_boot" ] || np_alive "$3" "$4" "$5" || np_lost ;;
    esac
}

# np_show CODE: what was not shown yet, and the end.
np_show() {
    set -- "$1" "${np_line%% *}"
    np_output
    case $2 in
        succeeded) np_end succeeded 0 0 "" ;;
        timeout) np_end timeout "$1" 124 "it took longer than $np_timeout s and was ended" ;;
        *) np_end failed "$1" "$1" "exit code $1" ;;
    esac
}

# np_lost: it ran in this boot, runs no more, and nobody wrote down how it ended; its supervisor may be about to.
np_lost() {
    flock -w 10 "$np_lock" true
    np_last "$np_dir/record"
    case $np_line in
        running*) ;;
        *) set -- $np_line && np_show "$3" ;;
    esac
    np_output
    # Of a run that another session began it is as if it had not been.
    [ "$np_mine" = "$np_token" ] || np_end rerun - 1 ""
    np_end failed - 1 "its result is not known: what watched it on the node was ended"
}

# np_output [PID]: the log from where the client has it; with PID until that process has ended.
np_output() {
    [ -z "$np_shown" ] || return 0
    np_shown=yes
    [ "$np_mine" = "$np_token" ] || np_from=0
    np_log=$np_dir/$np_mine.log
    if [ -z "$np_follow" ]; then
        [ -z "${1-}" ] || tail -c +1 -f --pid="$1" "$np_log" >/dev/null 2>&1
        np_from=0
        set -- -n "$np_lines"
    else
        set -- -c "+$((np_from + 1))" ${1:+-f --pid="$1" -s 0.05}
    fi
    printf 'nodepkg-%s output %s\n' "$np_token" "$np_from"
    [ "$#" = 2 ] && ! [ -s "$np_log" ] || tail "$@" "$np_log" 2>/dev/null 9>&-
}

# np_claim: takes the lock and returns, unless something runs here: this deploy is followed, another is not disturbed,
# and the converge of the node's own agent is waited for.
np_claim() {
    np_tries=0
    while np_recorded; do
        { exec 9>>"$np_lock"; } 2>/dev/null || np_broken "$np_lock cannot be written: has the login user the rights?"
        np_got=
        flock -n 9 && np_got=yes
        [ "$np_got" ] || exec 9>&-
        np_last "$np_lock"
        set -- $np_line - - - - - -
        if np_alive "$4" "$5" "$6"; then
            exec 9>&-
            case $1 in
                "$np_deploy") np_join "$2" "$3" "$5" ;;
                services) np_wait || np_end busy - 75 "waited $np_waited s for its agent, which still converges it" ;;
                *) np_end busy - 75 "deploy $1 runs there" ;;
            esac
        elif [ "$np_got" ]; then
            np_recorded
            return 0
        else
            np_tries=$((np_tries + 1))
            [ "$np_tries" -lt 100 ] || np_end busy - 75 "something holds $np_lock"
            sleep 0.1
        fi
    done
}

# np_wait: a moment; false when it has been np_timeout seconds. A client takes a node that says nothing for dead.
np_wait() {
    read -r np_now np_idle </proc/uptime
    np_now=${np_now%.*}
    [ "$np_waited" ] || { np_waits=$np_now && np_say waits; }
    np_waited=$((np_now - np_waits))
    [ "$np_waited" -lt "${np_timeout%.*}" ] && sleep 0.5
}

# np_join TOKEN STAGE PID: this deploy is under way here by another session.
np_join() {
    if [ "$2" = receiving ]; then
        # Its client is gone, or it would not have sent us; nothing was run yet.
        kill -9 "$3" 2>/dev/null
        return 0
    fi
    np_mine=$1
    np_say "began followed"
    np_output "$3"
}

# np_bundle: sees to it that the bundle of the digest lies in np_path, with the node's own dna if it has one.
np_bundle() {
    np_last "$np_home/bundle"
    case $np_line in
        "$np_digest") np_have=yes ;;
        "$np_digest own") np_have=$np_dna ;;
        *) np_have= ;;
    esac
    for np_file in solo.rb dna.json; do
        [ -f "$np_path/$np_file" ] && ! [ "$np_path/$np_file" -nt "$np_home/bundle" ] || np_have=
    done
    [ "$np_have" ] && [ -z "$np_dna" ] && return 0
    [ "$np_have" ] || np_receive
    [ -z "$np_dna" ] || np_own_dna
    printf '%s%s .\n' "$np_digest" "${np_dna:+ own}" >"$np_home/bundle" || np_broken "$np_home: it cannot be written"
}

np_receive() {
    np_staging=$np_path.nodepkg-$$
    read -r np_line </proc/self/stat
    np_stat "$np_line"
    printf '%s %s receiving %s %s %s .\n' "$np_deploy" "$np_token" "$np_boot" "$np_pid" "$np_started" >>"$np_lock" ||
        np_broken "$np_lock: it cannot be written"
    np_why=$(rm -rf -- "$np_path".nodepkg-* "$np_home/bundle" 2>&1 && mkdir -p -- "$np_path" "$np_staging" 2>&1) ||
        np_broken "$np_why"
    np_why=$(exec 9>&- && np_unpack 2>&1) || np_discard "$np_why" "tar ended with code $?"
    set --
    for np_file in cookbooks data_bags roles solo.rb dna.json services.json; do
        [ ! -e "$np_staging/$np_file" ] || set -- "$@" "$np_staging/$np_file"
    done
    [ "$#" != 0 ] || np_discard "the bundle is empty"
    np_why=$(
        cd -- "$np_path" 2>&1 && rm -rf -- cookbooks data_bags roles solo.rb dna.json services.json 2>&1 &&
            mv -- "$@" . 2>&1 && rm -rf -- "$np_staging" 2>&1
    ) || np_discard "$np_why"
    # Or a crash could leave the record of the bundle, and empty files.
    sync -f "$np_path" 2>/dev/null || sync
}

np_unpack() {
    if [ -z "$np_url" ]; then
        np_say send
        timeout "$np_timeout" tar -xzf - --no-same-owner -C "$np_staging"
    else
        np_fetch "$np_staging/.bundle" && tar -xzf "$np_staging/.bundle" --no-same-owner -C "$np_staging"
    fi
}

# np_fetch FILE: the address holds a signature, which must not be in the arguments of a process.
np_fetch() {
    if command -v curl >/dev/null; then
        printf 'url = "%s"\n' "$np_url" | timeout "$np_timeout" curl -fsS --retry 3 -K - -o "$1"
    elif command -v wget >/dev/null; then
        printf '%s\n' "$np_url" | timeout "$np_timeout" wget -nv -t 3 -i - -O "$1"
    else
        echo "the node has neither curl nor wget" && false
    fi
}

# np_discard WHY OTHERWISE: of WHY the first line that says something; gzip begins with an empty one.
np_discard() {
    rm -rf -- "$np_staging"
    while case $1 in "$np_newline"*) true ;; *) false ;; esac do set -- "${1#?}" "${2-}"; done
    [ "$1" ] || set -- "${2-}"
    case $1 in
        *"No space left"*) np_broken "the bundle could not be unpacked: no space left on the device of $np_path" ;;
    esac
    np_broken "the bundle could not be unpacked: ${1%%"$np_newline"*}"
}

np_own_dna() {
    np_why=$(
        printf %s "$np_dna" | base64 -d 2>&1 >"$np_path/.dna.json" && mv -f -- "$np_path/.dna.json" "$np_path/dna.json" 2>&1
    ) || np_broken "dna.json could not be written: $np_why"
}

np_run() {
    np_log=$np_dir/$np_token.log
    # What stands in them is done with, so they stay short: a shell reads them byte by byte.
    { : >"$np_dir/record" && : >"$np_lock" && : >"$np_log"; } || np_broken "$np_home: it cannot be written"
    # Who cannot follow gives the whole no more time than this, so what was waited is not left for the command.
    [ "$np_follow" ] || [ "${np_waited:-0}" = 0 ] || np_timeout=$((${np_timeout%.*} - np_waited))
    set -- "$np_home" "$np_deploy" "$np_token" "$np_boot" "$np_timeout" "$np_command"
    setsid sh -c "$np_supervise" nodepkg "$@" </dev/null >/dev/null 2>&1 8>&- &
    np_supervisor=$!
    exec 9>&-
    np_from=0
    np_mine=$np_token
    np_say "began fresh"
    np_output "$np_supervisor" &
    wait "$np_supervisor"
    wait "$!"
    np_shown=yes
    np_recorded
    np_broken "it could not be started: is the disk full?"
}

for np_program in flock setsid timeout tail tar gzip base64; do
    command -v "$np_program" >/dev/null || np_broken "the node has no $np_program"
done
[ "$np_boot" ] || read -r np_boot </proc/sys/kernel/random/boot_id || np_broken "the node has no /proc"
[ -d "$np_home" ] || np_why=$(mkdir -p -- "$np_home" 2>&1) || np_broken "$np_why"
np_claim
[ -d "$np_dir" ] || np_why=$(mkdir -p -- "$np_dir" 2>&1) || np_broken "$np_why"
np_bundle
np_run
