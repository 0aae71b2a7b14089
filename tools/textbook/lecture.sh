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

# What is made here is removed at the end, however that comes: it must not be somebody else's.
uses() { # COMMAND PATH...
    clean_up=$1
    shift
    for path in "$@"; do
        if [ -e "$path" ]; then
            echo "there is $PWD/$path already, which this lecture would make and remove"
            exit 1
        fi
    done
    trap 'eval "$clean_up"' EXIT
    # Not every shell comes to its end by a signal.
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# Mailboxes, with what is in them; some may be gone, some be filled again by who still waits.
remove_boxes() { # NAME...
    for name in "$@"; do
        for _ in 1 2 3 4 5; do
            rm -f "mbox/$name/queue/"* 2>/dev/null || :
            ! rmdir "mbox/$name" 2>/dev/null || break
        done
    done
}

# Returns as soon as a mailbox's or ring's stat has the line. inotify tells nothing of counters, hence the nap.
wait_for() { # DIRECTORY LINE
    until grep -qx "$2" "$1/stat"; do sleep 0.05; done
}
