#!/bin/busybox sh
# The first process of a machine: runs tests, and tells of them by lines that begin with "@@".
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root HEAPTAP_BIN=/bin/heaptap RUST_BACKTRACE=0
mkdir -p /proc /sys /dev /tmp /root /run
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tracefs tracefs /sys/kernel/tracing
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
ulimit -n 65536
# Kernels before 5.11 take what maps hold for locked memory.
ulimit -l unlimited

# Whether a line of doctor is "ok".
says() { grep -q "^ok  *$1  " /tmp/doctor; }
records() { test "$verdict" = 0; }

# Whoever reads this knows what the suite of a part needs, and that the lines of doctor say why.
lacks() { echo "@@ lacks $1"; }

# part NAME PROGRAM TEST...
part() {
    name=$1 program=$2
    shift 2
    echo "@@ begin $name"
    timeout -k 5 600 "$program" --exact --test-threads 1 "$@" 2>&1
    code=$?
    echo
    echo "@@ end $code $name"
}

the_end() {
    dmesg | grep -E 'WARNING:|BUG:|Oops|leaking uprobe|rcu: INFO' | while read -r line; do
        echo "@@ kernel said $line"
    done
    echo "@@ over"
    poweroff -f
}

echo
echo "@@ kernel $(uname -r)"
heaptap doctor >/tmp/doctor 2>/tmp/doctor.err
verdict=$?
while read -r line; do echo "@@ doctor $line"; done </tmp/doctor
echo "@@ verdict $verdict $(cat /tmp/doctor.err)"
