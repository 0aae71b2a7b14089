# bash completion for ipcfs-nats(8)
_ipcfs_nats() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    case $prev in
    -c | --config | --creds | --tls-ca | --tls-cert | --tls-key)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    esac
    case $cur in
    -*)
        mapfile -t COMPREPLY < <(compgen -W '--server --config --user --password --creds --tls-ca --tls-cert --tls-key
            --domain --replicas --max-age --duplicates --window --host --status --help --version' -- "$cur")
        ;;
    *)
        mapfile -t COMPREPLY < <(compgen -W 'export import topic' -- "$cur")
        [ -n "${COMPREPLY[*]}" ] || mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        ;;
    esac
}
complete -o filenames -F _ipcfs_nats ipcfs-nats
