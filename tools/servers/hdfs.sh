#!/bin/bash
# Real HDFS servers for tests, on free ports of the loopback interface, from jars that Maven fetches.
#
#   hdfs.sh fetch                     jars to build/servers/hadoop; nothing is fetched when they are there
#   hdfs.sh start DIR [OWNER]         one NameNode (nn), three DataNodes (dn1 dn2 dn3); returns when all are in service
#   hdfs.sh start-plain DIR [OWNER]   as start, with Hadoop's own blocks, heartbeats and compiler: what a benchmark should meet
#   hdfs.sh start-ha DIR [OWNER]      three JournalNodes (jn1 ..), two NameNodes (nn1 active, nn2), one DataNode (dn1)
#   hdfs.sh start-kerberos DIR [OWNER]  as start, with a Kerberos server (kdc), one DataNode and encrypted transfer
#   hdfs.sh stop DIR                  ends all servers of DIR; their files stay
#   hdfs.sh kill DIR NAME [SIGNAL]    a signal to one server (KILL); after KILL and TERM it waits for the end
#   hdfs.sh restart DIR NAME          starts a server that has ended; returns when it is in service
#   hdfs.sh live DIR                  returns when the NameNode and all DataNodes are in service, and it counts all as live
#   hdfs.sh failover DIR FROM TO [OPTION...]  makes TO the active NameNode
#   hdfs.sh tool DIR CLASS ARGUMENT...  runs one of Hadoop's own commands
#
# start writes DIR/env: lines NAME=VALUE with addresses (NN_RPC, NN_HTTP, DN1_DATA, DN1_HTTP, ...) and CONF, the folder
# of configuration files. Process numbers are in DIR/NAME.pid, output in DIR/NAME.log. With OWNER, a process number, all
# servers end when that process has ended, however it did. A server is recognised by its command line, so a number that
# the system has given to another process does no harm.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
lib=$root/build/servers/hadoop

fail() { echo "hdfs.sh: $*" >&2; exit 1; }

fetch() {
	cmp -s "$here/pom.xml" "$lib/pom.xml" && return
	command -v mvn >/dev/null || fail "Maven is needed to fetch the servers (Debian: maven default-jdk-headless)"
	rm -rf "$lib"
	mvn --quiet --batch-mode -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$lib"
	cp "$here/pom.xml" "$lib/pom.xml"
}

# A little heap, and the compiler that starts quickly: five of these run beside the tests. WebHDFS needs the last.
java_options="-Xms32m -Xmx192m -XX:+UseSerialGC -Xss512k -XX:-UsePerfData -Djava.net.preferIPv4Stack=true --add-opens=java.base/java.lang=ALL-UNNAMED"
quick_compiler="-XX:TieredStopAtLevel=1"
# Files of many blocks from little data, and servers that are missed after seconds: what tests need. Each costs the
# machine something all the time, so start-plain leaves them out.
quick_hdfs="dfs.blocksize 4m
dfs.heartbeat.interval 1
dfs.namenode.heartbeat.recheck-interval 1000
dfs.namenode.stale.datanode.interval 3000
dfs.namenode.redundancy.interval.seconds 1
dfs.namenode.reconstruction.pending.timeout-sec 10"
namenode=org.apache.hadoop.hdfs.server.namenode.NameNode
datanode=org.apache.hadoop.hdfs.server.datanode.DataNode
journalnode=org.apache.hadoop.hdfs.qjournal.server.JournalNode

# alive PID: it runs, and is ours. kill -0 would succeed for what has ended and was not waited for.
alive() {
	[ -n "$1" ] || return 1
	if [ -r "/proc/$1/cmdline" ]; then
		tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null | grep -qF -- "$dir" # empty of a zombie; before it is java, it is a script of dir
	else
		ps -o args= -p "$1" 2>/dev/null | grep -qF -- "$dir"
	fi
}

pid_of() { cat "$dir/$1.pid" 2>/dev/null || true; }

# wait_for SECONDS WHAT COMMAND...: fails at once when a server that should run has ended.
wait_for() {
	local deadline=$((SECONDS + $1)) what=$2
	shift 2
	until "$@"; do
		[ $SECONDS -lt $deadline ] || { echo "hdfs.sh: $what: not in time" >&2; return 1; }
		sleep 0.1
	done
}

# get ADDRESS PATH: the answer of an HTTP server, or what has come of it in five seconds: one that is stopped says nothing.
get() {
	(
		exec 3<>"/dev/tcp/${1%:*}/${1#*:}"
		printf 'GET %s HTTP/1.0\r\nHost: %s\r\n\r\n' "$2" "$1" >&3
		IFS= read -r -t 5 -d '' text <&3 || true # the end is no zero byte
		printf '%s' "$text"
	) 2>/dev/null || true
}

value() { sed -n "s/^$1=//p" "$dir/env"; }

free_port() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# choose COUNT: sets base, so that the ports from base on are free. They lie below those that systems give to clients.
choose() {
	local p
	while :; do
		base=$((12000 + (RANDOM * 32768 + RANDOM) % 18000))
		for ((p = base; p < base + $1; p++)); do free_port "$p" || continue 2; done
		return
	done
}

# property NAME VALUE: one of a configuration file.
property() { printf '  <property><name>%s</name><value>%s</value></property>\n' "$1" "$2"; }

# configure CORE HDFS: the configuration files, from lines "NAME VALUE"; what is in every layout comes from here.
configure() {
	local conf=$dir/conf name text
	mkdir -p "$conf"/webapps/{hdfs,datanode,journal,secondary,static} "$dir/tmp" # the jars lack these folders
	printf 'log4j.rootLogger=WARN,console\nlog4j.appender.console=org.apache.log4j.ConsoleAppender\nlog4j.appender.console.target=System.err\nlog4j.appender.console.layout=org.apache.log4j.PatternLayout\nlog4j.appender.console.layout.ConversionPattern=%%d{ISO8601} %%p %%c{1}: %%m%%n\n' >"$conf/log4j.properties"
	for name in core hdfs; do
		if [ $name = core ]; then text="hadoop.tmp.dir $dir/tmp
$1"; else text="dfs.namenode.rpc-bind-host 127.0.0.1
dfs.namenode.http-bind-host 127.0.0.1
dfs.namenode.datanode.registration.ip-hostname-check false
dfs.namenode.fs-limits.min-block-size 4096
dfs.namenode.avoid.read.stale.datanode true
dfs.namenode.avoid.write.stale.datanode true
dfs.namenode.safemode.extension 0
dfs.namenode.safemode.min.datanodes 1
dfs.namenode.handler.count 8
dfs.datanode.max.transfer.threads 512
dfs.datanode.hostname 127.0.0.1
$quick_hdfs
$2"; fi
		{
			printf '<?xml version="1.0"?>\n<configuration>\n'
			printf '%s\n' "$text" | while read -r key value; do [ -z "$key" ] || property "$key" "$value"; done
			printf '</configuration>\n'
		} >"$conf/$name-site.xml"
	done
}

# launch NAME CLASS ARGUMENT...: starts a server, and keeps its command for restart.
launch() {
	local name=$1
	shift
	{
		printf '#!/bin/bash\nexec java %s -Dvista.cluster=%q -cp %q ' "$java_options $quick_compiler ${extra_java:-}" "$dir" "$dir/conf:$lib/*"
		printf '%q ' "$@"
		printf '\n'
	} >"$dir/$name.sh"
	chmod +x "$dir/$name.sh"
	spawn "$name"
}

spawn() {
	# No descriptor of ours may stay open in the server: whoever waits for the end of a pipe or lock would wait for it.
	(
		for fd in 3 4 5 6 7 8 9 10; do eval "exec $fd>&-"; done
		exec setsid "$dir/$1.sh" </dev/null >>"$dir/$1.log" 2>&1
	) &
	echo $! >"$dir/$1.pid"
	disown
}

command -v setsid >/dev/null || setsid() { "$@"; } # macOS has none

running() { alive "$(pid_of "$1")"; }

# serves NAME: a NameNode that is out of safe mode, a DataNode that all its NameNodes know.
serves() {
	case $1 in
	nn*)
		get "$(value "$(upper "$1")_HTTP")" '/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState' | grep -q '"FSState" : "Operational"'
		;;
	dn*)
		local info
		info=$(get "$(value "$(upper "$1")_HTTP")" '/jmx?qry=Hadoop:service=DataNode,name=DataNodeInfo' | grep BPServiceActorInfo)
		[[ $info == *RUNNING* && $info != *CONNECTING* && $info != *INIT_FAILED* ]]
		;;
	*) ! free_port "$(value "$(upper "$1")_RPC" | sed 's/.*://')" ;;
	esac
}

upper() { printf '%s' "$1" | tr '[:lower:]' '[:upper:]'; }

# up NAME...: waits until the servers are in service; false when one has died.
up() {
	local name deadline=$((SECONDS + 180))
	for name; do
		until serves "$name"; do
			running "$name" || { sleep 0.5 && running "$name"; } || { echo "hdfs.sh: $name has ended: $(tail -n 3 "$dir/$name.log" | tr '\n' ' ')" >&2; return 1; }
			[ $SECONDS -lt $deadline ] || { echo "hdfs.sh: $name is not in service in time" >&2; return 1; }
			sleep 0.1
		done
	done
}

# all_live ADDRESS COUNT: the NameNode counts so many DataNodes.
all_live() { get "$1" '/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState' | grep -q "\"NumLiveDataNodes\" : $2"; }

java_run() { java $java_options -XX:TieredStopAtLevel=1 ${extra_java:-} "-Dvista.cluster=$dir" -cp "$dir/conf:$lib/*" "$@"; }

datanode_at() { # datanode_at NAME PORT [ARGUMENT...]
	local name=$1 port=$2
	shift 2
	mkdir -p "$dir/$name"
	chmod 700 "$dir/$name"
	printf '%s_DATA=127.0.0.1:%s\n%s_HTTP=127.0.0.1:%s\n' "$(upper "$name")" "$port" "$(upper "$name")" $((port + 1)) >>"$dir/env"
	launch "$name" $datanode "-Ddfs.datanode.data.dir=file://$dir/$name" "-Ddfs.datanode.address=127.0.0.1:$port" \
		"-Ddfs.datanode.http.address=127.0.0.1:$((port + 1))" "-Ddfs.datanode.ipc.address=127.0.0.1:$((port + 2))" "$@"
}

layout_single() {
	choose 11
	printf 'CONF=%s\nNN_RPC=127.0.0.1:%s\nNN_HTTP=127.0.0.1:%s\n' "$dir/conf" "$base" $((base + 1)) >"$dir/env"
	configure "fs.defaultFS hdfs://127.0.0.1:$base
hadoop.security.key.provider.path jceks://file$dir/keys.jceks" "dfs.replication 3
dfs.namenode.rpc-address 127.0.0.1:$base
dfs.namenode.http-address 127.0.0.1:$((base + 1))
dfs.namenode.name.dir file://$dir/nn"
	# A key for an encryption zone, made while the name folder is.
	java_run org.apache.hadoop.crypto.key.KeyShell create zone -provider "jceks://file$dir/keys.jceks" >"$dir/key.log" 2>&1 </dev/null &
	local key=$!
	java_run $namenode -format -force -nonInteractive >"$dir/format.log" 2>&1 || { tail -n 3 "$dir/format.log" >&2; return 1; }
	wait $key || { tail -n 3 "$dir/key.log" >&2; return 1; }
	launch nn $namenode
	for i in 1 2 3; do datanode_at "dn$i" $((base + 2 + 3 * (i - 1))); done
	up nn dn1 dn2 dn3 && wait_for 60 "three DataNodes" all_live "$(value NN_HTTP)" 3
}

layout_plain() {
	quick_hdfs= quick_compiler=
	layout_single
}

layout_ha() {
	choose 16
	local j=$base n=$((base + 6)) i
	printf 'CONF=%s\nNAMESERVICE=lab\n' "$dir/conf" >"$dir/env"
	for i in 1 2; do printf 'NN%s_RPC=127.0.0.1:%s\nNN%s_HTTP=127.0.0.1:%s\n' $i $((n + 2 * (i - 1))) $i $((n + 2 * (i - 1) + 1)) >>"$dir/env"; done
	for i in 1 2 3; do printf 'JN%s_RPC=127.0.0.1:%s\nJN%s_HTTP=127.0.0.1:%s\n' $i $((j + 2 * (i - 1))) $i $((j + 2 * (i - 1) + 1)) >>"$dir/env"; done
	configure "fs.defaultFS hdfs://lab" "dfs.replication 1
dfs.nameservices lab
dfs.ha.namenodes.lab nn1,nn2
dfs.namenode.rpc-address.lab.nn1 $(value NN1_RPC)
dfs.namenode.rpc-address.lab.nn2 $(value NN2_RPC)
dfs.namenode.http-address.lab.nn1 $(value NN1_HTTP)
dfs.namenode.http-address.lab.nn2 $(value NN2_HTTP)
dfs.namenode.shared.edits.dir qjournal://$(value JN1_RPC);$(value JN2_RPC);$(value JN3_RPC)/lab
dfs.client.failover.proxy.provider.lab org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider
dfs.ha.fencing.methods shell(/bin/true)
dfs.ha.tail-edits.period 1"
	for i in 1 2 3; do
		mkdir -p "$dir/jn$i"
		launch "jn$i" $journalnode "-Ddfs.journalnode.edits.dir=$dir/jn$i" "-Ddfs.journalnode.rpc-address=$(value JN${i}_RPC)" "-Ddfs.journalnode.http-address=$(value JN${i}_HTTP)"
	done
	up jn1 jn2 jn3 || return 1
	local one="-Ddfs.ha.namenode.id=nn1 -Ddfs.namenode.name.dir=file://$dir/nn1" two="-Ddfs.ha.namenode.id=nn2 -Ddfs.namenode.name.dir=file://$dir/nn2"
	java_run $namenode $one -format -force -nonInteractive >"$dir/format.log" 2>&1 || { tail -n 3 "$dir/format.log" >&2; return 1; }
	launch nn1 $namenode $one
	wait_for 90 "NameNode nn1" answers nn1 || return 1
	java_run $namenode $two -bootstrapStandby -force -nonInteractive >>"$dir/format.log" 2>&1 || { tail -n 3 "$dir/format.log" >&2; return 1; }
	launch nn2 $namenode $two
	datanode_at dn1 $((base + 10))
	wait_for 90 "NameNode nn2" answers nn2 || return 1
	java_run org.apache.hadoop.hdfs.tools.DFSHAAdmin -transitionToActive nn1 >>"$dir/format.log" 2>&1 || { tail -n 3 "$dir/format.log" >&2; return 1; }
	up nn1 dn1 && wait_for 60 "the DataNode" all_live "$(value NN1_HTTP)" 1
}

# answers NAME: a NameNode's HTTP server answers, whatever its state.
answers() { get "$(value "$(upper "$1")_HTTP")" '/jmx?qry=Hadoop:service=NameNode,name=NameNodeStatus' | grep -q '"State"'; }

layout_kerberos() {
	choose 8
	local realm=EXAMPLE.COM k=$((base + 6))
	printf 'CONF=%s\nNN_RPC=127.0.0.1:%s\nNN_HTTP=127.0.0.1:%s\nKDC_RPC=127.0.0.1:%s\nKEYTAB=%s\nREALM=%s\nKRB5_CONFIG=%s\n' \
		"$dir/conf" "$base" $((base + 1)) "$k" "$dir/keytab" $realm "$dir/krb5.conf" >"$dir/env"
	mkdir -p "$dir/kdc"
	printf 'org.name=EXAMPLE\norg.domain=COM\nkdc.bind.address=127.0.0.1\nkdc.port=%s\ninstance=DefaultKrbServer\nmax.ticket.lifetime=86400000\nmax.renewable.lifetime=604800000\ntransport=TCP\ndebug=false\n' "$k" >"$dir/kdc.properties"
	configure "" ""
	launch kdc org.apache.hadoop.minikdc.MiniKdc "$dir/kdc" "$dir/kdc.properties" "$dir/keytab" hdfs/127.0.0.1 HTTP/127.0.0.1 vista
	wait_for 60 "the Kerberos server" test -s "$dir/keytab" || return 1
	up kdc || return 1
	printf '[libdefaults]\n default_realm = %s\n udp_preference_limit = 1\n dns_lookup_kdc = false\n dns_lookup_realm = false\n[realms]\n %s = {\n  kdc = 127.0.0.1:%s\n }\n' $realm $realm "$k" >"$dir/krb5.conf"
	extra_java="-Djava.security.krb5.conf=$dir/krb5.conf"
	local p
	configure "fs.defaultFS hdfs://127.0.0.1:$base
hadoop.security.authentication kerberos
hadoop.security.authorization true
hadoop.rpc.protection privacy" "dfs.replication 1
dfs.namenode.rpc-address 127.0.0.1:$base
dfs.namenode.http-address 127.0.0.1:$((base + 1))
dfs.namenode.name.dir file://$dir/nn
dfs.block.access.token.enable true
dfs.encrypt.data.transfer true
dfs.encrypt.data.transfer.cipher.suites AES/CTR/NoPadding
dfs.data.transfer.protection privacy
ignore.secure.ports.for.testing true
dfs.http.policy HTTP_ONLY
dfs.permissions.superusergroup supergroup
$(for p in namenode datanode; do printf 'dfs.%s.keytab.file %s\ndfs.%s.kerberos.principal hdfs/127.0.0.1@%s\n' $p "$dir/keytab" $p $realm; done)
dfs.web.authentication.kerberos.principal HTTP/127.0.0.1@$realm
dfs.web.authentication.kerberos.keytab $dir/keytab"
	java_run $namenode -format -force -nonInteractive >"$dir/format.log" 2>&1 || { tail -n 3 "$dir/format.log" >&2; return 1; }
	launch nn $namenode
	datanode_at dn1 $((base + 2))
	up nn dn1 && wait_for 60 "the DataNode" all_live "$(value NN_HTTP)" 1
}

# start LAYOUT [OWNER]: a port that somebody else has taken in between is a reason to try again with others.
start() {
	cmp -s "$here/pom.xml" "$lib/pom.xml" || fail "the servers are not there: run make servers"
	[ ! -e "$dir/env" ] || fail "$dir is in use"
	mkdir -p "$dir"
	dir=$(cd "$dir" && pwd)
	trap 'stop; exit 130' INT TERM
	local try
	for try in 1 2 3; do
		if "layout_$1"; then
			trap - INT TERM
			[ -z "${2:-}" ] || watch "$2"
			return
		fi
		stop
		cat "$dir"/*.log 2>/dev/null | grep -q 'Address already in use\|BindException' || break
		rm -rf "${dir:?}"/*
	done
	fail "the servers of $dir do not start; see its .log files"
}

# watch OWNER: ends the servers after their owner, also when that one was killed.
watch() {
	(
		for fd in 3 4 5 6 7 8 9 10; do eval "exec $fd>&-"; done
		trap '' INT HUP
		while owner_runs "$1" && ls "$dir"/*.pid >/dev/null 2>&1; do sleep 1; done # stop removes them
		stop
	) </dev/null >/dev/null 2>&1 &
	disown
}

owner_runs() {
	if [ -d /proc/self ]; then
		[ -r "/proc/$1/stat" ] && ! grep -q '^[0-9]* (.*) [ZX] ' "/proc/$1/stat" 2>/dev/null
	else
		kill -0 "$1" 2>/dev/null
	fi
}

stop() {
	local file pid
	for file in "$dir"/*.pid; do
		pid=$(cat "$file" 2>/dev/null) || continue
		if alive "$pid"; then kill -KILL "$pid" 2>/dev/null || true; fi # also one that is stopped by SIGSTOP
	done
	for file in "$dir"/*.pid; do
		pid=$(cat "$file" 2>/dev/null) || continue
		wait_for 20 "the end of $file" gone "$pid" || true
		rm -f "$file"
	done
}

gone() { ! alive "$1"; }

verb=${1:-}
dir=${2:-}
[ "$verb" = fetch ] || [ -n "$dir" ] || fail "give a verb and a folder; see the head of this file"
case $dir in /*) ;; *) dir=$PWD/$dir ;; esac
if [ -r "$dir/krb5.conf" ]; then extra_java="-Djava.security.krb5.conf=$dir/krb5.conf"; fi
case $verb in
fetch) fetch ;;
start) start single "${3:-}" ;;
start-plain) start plain "${3:-}" ;;
start-ha) start ha "${3:-}" ;;
start-kerberos) start kerberos "${3:-}" ;;
stop) stop ;;
kill)
	pid=$(pid_of "$3")
	signal=${4:-KILL}
	alive "$pid" || fail "$3 does not run"
	kill "-${signal#SIG}" "$pid"
	case ${signal#SIG} in KILL | TERM) wait_for 30 "the end of $3" gone "$pid" ;; esac
	;;
restart)
	! running "$3" || fail "$3 runs"
	spawn "$3"
	case $3 in nn[12]) wait_for 90 "$3" answers "$3" ;; *) up "$3" ;; esac
	;;
live) up nn dn1 dn2 dn3 && wait_for 60 "three DataNodes" all_live "$(value NN_HTTP)" 3 ;;
failover) java_run org.apache.hadoop.hdfs.tools.DFSHAAdmin -failover "${@:5}" "$3" "$4" ;;
tool) java_run "${@:3}" ;;
*) fail "unknown verb \"$verb\"; see the head of this file" ;;
esac
