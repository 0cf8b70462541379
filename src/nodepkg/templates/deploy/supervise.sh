# Runs one converge, apart from the session that started it, and writes down how it ended. It holds the lock (9).
np_home=$1 np_dir=$1/deploys/$2 np_deploy=$2 np_token=$3 np_boot=$4 np_timeout=$5 np_command=$6
read -r np_began np_idle </proc/uptime
(
    read -r np_line </proc/self/stat
    np_pid=${np_line%% *}
    set -- ${np_line##*) }
    shift 19
    printf 'running %s %s %s %s .\n' "$np_token" "$np_boot" "$np_pid" "$1" >>"$np_dir/record" || exit 1
    printf '%s %s running %s %s %s .\n' "$np_deploy" "$np_token" "$np_boot" "$np_pid" "$1" >>"$np_home/lock" || exit 1
    cd /
    umask 022
    # timeout also gives back the signals that a shell ignores in the background; daemons that stay must not hold the lock.
    exec timeout -k 30 "$np_timeout" sh -c "$np_command" >>"$np_dir/$np_token.log" 2>&1 8>&- 9>&-
) &
np_runs=$!
wait "$np_runs"
np_code=$?
# Whoever ends timeout itself leaves behind what it ran.
[ "$np_code" -le 128 ] || kill -9 "-$np_runs"
read -r np_ended np_idle </proc/uptime
np_result=failed
case $np_code in
    0) np_result=succeeded ;;
    124 | 137) [ "$((${np_ended%.*} - ${np_began%.*} + 1))" -lt "${np_timeout%.*}" ] || np_result=timeout ;;
esac
np_recorded=
while read -r np_line; do
    case $np_line in running*) np_recorded=yes ;; esac
done <"$np_dir/record"
[ "$np_recorded" ] || exit 1
printf '%s %s %s .\n' "$np_result" "$np_token" "$np_code" >>"$np_dir/record"
set -- "$np_home"/deploys/*
np_over=$(($# - 10))
while [ "$np_over" -gt 0 ]; do
    [ "$1" = "$np_dir" ] || rm -rf -- "$1"
    shift
    np_over=$((np_over - 1))
done
