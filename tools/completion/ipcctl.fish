# Completion for fish. Names come from the mount, options from ipcctl's own help.

# The arguments before this one, the verb first.
function __ipcctl_arguments
    set -l words (commandline -opc)
    set -l skip no
    set -l arguments
    for word in $words[2..-1]
        if test $skip = yes
            set skip no
            continue
        end
        switch $word
            case -m --mount -t --timeout -p --prio -n --count -j --jobs -s --size -r --rounds -d --delay --mode --file --svg --beside
                set skip yes
            case -f
                contains -- "$arguments[1]" send call pub; and set skip yes
            case '-*'
            case '*'
                set -a arguments $word
        end
    end
    string join \n -- $arguments
end

# ipcctl on the mount that the line names.
function __ipcctl
    set -l words (commandline -opc)
    set -l mount
    for i in (seq 2 (count $words))
        switch $words[$i]
            case -m --mount
                set mount -m $words[(math $i + 1)]
            case '--mount=*'
                set mount -m (string replace -- --mount= '' $words[$i])
        end
    end
    set mount (string replace -r '^~/' "$HOME/" -- $mount)
    ipcctl $mount $argv 2>/dev/null
end

function __ipcctl_names
    __ipcctl ls --null $argv | string split0
end

# As ipcctl's help lists them.
function __ipcctl_verbs
    __ipcctl help | string replace -rf '^  ([a-z]+) +[A-Z].*' '$1'
end

# Directories, where a path is typed: a name is one too.
function __ipcctl_paths
    set -l typed (commandline -ct)
    string match -qr '^[./~]|/.*/' -- $typed; and __fish_complete_directories $typed
end

function __ipcctl_options
    set -l arguments (__ipcctl_arguments)
    set -l verb $arguments[1]
    test "$verb" = ring; and set verb $arguments[1..2]
    printf '%s\n' --help
    if test -z "$verb"
        printf '%s\n' --mount --version
    else
        __ipcctl help $verb | string match -ar ' --[a-z][a-z-]*' | string trim | sort -u
    end
end

function __ipcctl_complete
    set -l arguments (__ipcctl_arguments)
    if string match -q -- '-*' (commandline -ct)
        __ipcctl_options
        return
    end
    switch "$arguments"
        case ''
            __ipcctl_verbs
            echo help
        case ring 'help ring'
            printf '%s\n' dump put get
        case store 'help store'
            printf '%s\n' check dump
        case 'store *'
            __fish_complete_directories (commandline -ct)
        case 'ring *'
            __ipcctl_names ring/ | string replace -r '^ring/' ''
            __ipcctl_paths
        case help
            __ipcctl_verbs
        case 'ls*' 'rm*' send recv
            __ipcctl_names
            __ipcctl_paths
        case config
            __ipcctl_names mbox/ topic/ ring/ proc/
            __ipcctl_paths
        case work call
            __ipcctl_names mbox/
            __ipcctl_paths
        case pub sub
            __ipcctl_names topic/ | string replace -r '^topic/' ''
            __ipcctl_paths
        case new
            printf '%s\n' topic/ ring/ shm/
        case 'config *'
            __ipcctl config $arguments[2] | string replace -r '=.*' '='
        case 'new topic/*'
            printf '%s\n' history= message_bytes= bytes=
        case 'new ring/*'
            printf '%s\n' slots= slot_bytes= producers= consumers=
        case 'new *'
            printf '%s\n' messages= bytes= message_bytes= overflow= ttl= attempts= dead= durable=
    end
end

function __ipcctl_wants_file
    set -l words (commandline -opc)
    switch "$words[-1]"
        case --file --svg --beside -m --mount
            return 0
        case -f
            contains send $words; or contains call $words; or contains pub $words
            return
    end
    return 1
end

# A number or the like, which nobody but the user knows.
function __ipcctl_wants_value
    set -l words (commandline -opc)
    contains -- "$words[-1]" -t --timeout -p --prio -n --count -j --jobs -s --size -r --rounds -d --delay --mode
end

complete -c ipcctl -f
complete -c ipcctl -n __ipcctl_wants_file -F
complete -c ipcctl -n 'not __ipcctl_wants_file; and not __ipcctl_wants_value' -f -a '(__ipcctl_complete)'
