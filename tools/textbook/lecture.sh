# shellcheck shell=sh
# For the scripts of a lecture: each shows what it types and what comes of it.
set -eu
# What goes wrong belongs to the lecture.
exec 2>&1

cd "${1:-/mnt/ipc}"
if [ ! -d .ipcfs ]; then
    echo "no ipcfs is mounted on $PWD; mount it (ipcfs $PWD) or name another: $0 DIRECTORY"
    exit 1
fi

paragraph=
say() {
    printf "$paragraph# %s\n" "$*"
    paragraph='\n'
}

show() { # COMMAND
    printf '$ %s\n' "$1"
    eval "$1"
}

# Mailboxes, with what is in them; some may be gone.
remove_boxes() { # NAME...
    for name in "$@"; do
        rm -f "mbox/$name/queue/"* 2>/dev/null || :
        rmdir "mbox/$name" 2>/dev/null || :
    done
}

# Returns as soon as a mailbox's or ring's stat has the line. inotify tells nothing of counters, hence the nap.
wait_for() { # DIRECTORY LINE
    until grep -qx "$2" "$1/stat"; do sleep 0.05; done
}
