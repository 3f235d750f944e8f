#!/bin/bash
# S3 servers for tests and for trying things out, on this machine only.
#
#   s3.sh fetch                      builds them into build/servers/bin, once
#   s3.sh start SERVER DIR [PID]     SERVER is versitygw or minio; data, log and settings lie in DIR. With PID, the server
#                                    ends, and DIR is removed, when that process has ended
#   s3.sh stop|kill|pause|resume DIR ends it in order; at once; makes it hang; lets it go on
#
# "start" waits until the server answers. DIR/env then holds what a client needs, as lines that a shell can read; there is
# a bucket "vista". A server that was stopped or killed starts again with "start", on the same port and with the same data.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
bin=${VISTA_MR_SERVERS:-$root/build/servers/bin}
versitygw=github.com/versity/versitygw/cmd/versitygw@v1.8.0
minio=github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c
domain=s3.test # buckets are also found as hosts below it

die() { echo "servers: $*" >&2; exit 1; }
usage() { sed -n 's/^#   //p' "$0" >&2; exit 2; }

# One server's program. The name that is looked for holds the version, so that a new pin is built.
build() {
	local name=$1 package=$2 mark
	mark=$bin/.$name-${package##*@}
	if [ -x "$bin/$name" ] && [ -e "$mark" ]; then return; fi
	echo "servers: building $package (minutes, once)" >&2
	mkdir -p "$bin"
	# Outside of the tree, so that the program's own versions of its packages count.
	(cd / && GOFLAGS= CGO_ENABLED=0 GOBIN=$bin nice go install -p "${SERVERS_JOBS:-1}" -trimpath -ldflags '-s -w' "$package") || die "cannot build $package"
	rm -f "$bin/.$name"-*
	: >"$mark"
}

# The process of DIR, if it is one: an id alone may belong to somebody else by now.
pid() {
	local p
	p=$(cat "$1/pid" 2>/dev/null) || return 1
	case $(ps -p "$p" -o stat=,args= 2>/dev/null) in
	Z*) return 1 ;;
	*"$1/data"*) echo "$p" ;;
	*) return 1 ;;
	esac
}

# Whether the server answers an HTTP request at all.
answers() {
	(
		exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
		printf 'GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' "$2" >&3
		read -r -t 2 line <&3 && [[ $line == HTTP/*" 200"* ]]
	) 2>/dev/null
}

launch() { # DIR PORT
	local dir=$1 port=$2
	case $(cat "$dir/kind") in
	versitygw)
		ROOT_ACCESS_KEY=vista-test ROOT_SECRET_KEY=vista-test-secret nohup "$bin/versitygw" --port "127.0.0.1:$port" --quiet --health /healthy \
			--virtual-domain "$domain" posix "$dir/data" >>"$dir/log" 2>&1 </dev/null &
		;;
	minio)
		HOME=$dir MINIO_ROOT_USER=vista-test MINIO_ROOT_PASSWORD=vista-test-secret MINIO_UPDATE=off MINIO_BROWSER=off MINIO_DOMAIN=$domain \
			nohup "$bin/minio" server --quiet --address "127.0.0.1:$port" "$dir/data" >>"$dir/log" 2>&1 </dev/null &
		;;
	esac
	echo $! >"$dir/pid"
}

start() {
	local kind=$1 dir=$2 owner=${3:-} health=/healthy port ports i
	case $kind in
	versitygw) ;;
	minio) health=/minio/health/live ;;
	*) usage ;;
	esac
	[ -x "$bin/$kind" ] || die "$bin/$kind is not there: run $0 fetch"
	mkdir -p "$dir/data/vista"
	dir=$(cd "$dir" && pwd)
	if pid "$dir" >/dev/null; then die "a server of $dir runs already"; fi
	echo "$kind" >"$dir/kind"
	# The port of last time, or any: the first that the server can have.
	ports=$(cat "$dir/port" 2>/dev/null) || ports=$(for i in 1 2 3 4 5 6 7 8; do echo $((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000)); done)
	for port in $ports; do
		if answers "$port" /; then continue; fi # somebody else's
		launch "$dir" "$port"
		for ((i = 0; i < 300; i++)); do
			pid "$dir" >/dev/null || break # died: most likely the port is taken
			if answers "$port" "$health"; then
				echo "$port" >"$dir/port"
				cat >"$dir/env" <<-END
					AWS_ENDPOINT_URL_S3=http://127.0.0.1:$port
					AWS_ACCESS_KEY_ID=vista-test
					AWS_SECRET_ACCESS_KEY=vista-test-secret
					AWS_REGION=us-east-1
					S3_DOMAIN=$domain
				END
				if [ -n "$owner" ]; then watch "$dir" "$owner" >/dev/null 2>&1 </dev/null & fi
				return
			fi
			sleep 0.1
		done
		end "$dir" KILL # it may live and not answer
		rm -f "$dir/pid"
	done
	tail -n 5 "$dir/log" >&2 || true
	die "$kind did not come up in $dir"
}

# Ends a server whose owner has ended without doing so.
watch() {
	trap '' HUP INT
	while kill -0 "$2" 2>/dev/null; do sleep 1; done
	end "$1" KILL || true
	rm -rf "$1"
}

end() { # DIR SIGNAL
	local p i
	p=$(pid "$1") || return 0
	kill -CONT "$p" 2>/dev/null || true
	kill "-$2" "$p" 2>/dev/null || return 0
	for ((i = 0; i < 100; i++)); do
		pid "$1" >/dev/null || return 0
		sleep 0.1
	done
	[ "$2" = KILL ] || end "$1" KILL
}

[ $# -ge 1 ] || usage
verb=$1
shift
case $verb in
fetch)
	build versitygw "$versitygw"
	build minio "$minio"
	;;
start) [ $# -ge 2 ] || usage; start "$@" ;;
stop | kill | pause | resume)
	[ $# -eq 1 ] && [ -d "$1" ] || usage
	dir=$(cd "$1" && pwd)
	case $verb in
	stop) end "$dir" TERM ;;
	kill) end "$dir" KILL ;;
	pause) kill -STOP "$(pid "$dir")" ;;
	resume) kill -CONT "$(pid "$dir")" ;;
	esac
	;;
*) usage ;;
esac
