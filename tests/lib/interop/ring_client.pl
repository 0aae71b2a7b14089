#!/usr/bin/perl
# A client of rings in Perl, written from ipcfs-ring(7) alone, with File::Map (Debian: libfile-map-perl).
#
#     ring_client.pl MAP produce [COUNT]    each line of stdin is a message
#     ring_client.pl MAP consume [COUNT]    prints each message as a line
#
# Perl has no compare-and-swap, so it takes part where there is one producer and it is that, or one consumer;
# nobody may compete with it for the role. Nor has it acquire and release, so it takes x86-64 for them:
# - unpack loads an aligned word with one instruction;
# - substr stores one with libc's memmove: whole, but twice, which does no harm to a word that only we write. The
#   role's word is another's as soon as it is 0: so we leave our id there, and a successor finds us dead.

use v5.26;
use warnings;
use Config;
use Errno qw(EBUSY EIDRM EMSGSIZE EOPNOTSUPP EPROTO ESRCH);
use File::Basename qw(dirname);
use File::Map qw(map_handle);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

use constant {
    ONE_PRODUCER => 1, ONE_CONSUMER => 2, EACH_CONSUMER => 4, LOOK_BACK => 65536,
    HEAD => 4096, PRODUCER => 4104, TAIL => 4224, CONSUMER => 4232, WAIT_DATA => 4352, WAIT_SPACE => 4480,
    SLOTS_OFFSET => 8192,
    SKIP => 0, FULL => 1, CLAIMED => 2,
    MASK_LAP => (1 << 30) - 1,
    ID_FOREIGN => 1 << 31, SLEEPERS => 1, CLOSED => 1 << 31,
    LOOK_SECONDS => 2e-5, NAP_SECONDS => 0.001, NAP_SECONDS_MAX => 0.01,
    JUDGE_AFTER => 0.001, JUDGE_AGAIN => 0.005,
    SYS_MEMBARRIER => 324, REGISTER_GLOBAL_EXPEDITED => 4,
};

my ($path, $verb, $count) = @ARGV;
if (@ARGV < 2 || @ARGV > 3 || $verb !~ /^(produce|consume)$/) {
    say STDERR 'usage: ring_client.pl MAP produce|consume [COUNT]';
    exit 2;
}

sub fail {
    ($!) = @_;
    say STDERR "$path: $!";
    exit 1;
}

my ($map, $bell, $bell_to_read);    # a ring without a mount may have none, or one that can't be read
my ($flags, $slots, $slot_bytes, $order, $id);
my ($pos, $role);    # our next position; whether the role is ours
my ($claim, $judge_at) = ('', 0);

sub u32 { unpack "x$_[0] L<", $map }
sub u64 { unpack "x$_[0] Q<", $map }
sub set_u32 { substr $map, $_[0], 4, pack 'L<', $_[1] }
sub set_u64 { substr $map, $_[0], 8, pack 'Q<', $_[1] }

# Differences and sums of positions, which wrap.
sub minus { use integer; $_[0] - $_[1] }
sub next_pos { use integer; $_[0] + 1 }
sub plus { use integer; $_[0] + $_[1] }
sub before { use integer; $_[0] - 1 }

sub lap { ($_[0] >> $order) + 1 & MASK_LAP }
sub slot { SLOTS_OFFSET + ($_[0] & $slots - 1) * $slot_bytes }
sub word { ($_[0] << 2 | $_[1]) << 32 | $_[2] }    # lap, state, low half

sub now { clock_gettime(CLOCK_MONOTONIC) }

# --- ids, and the dead ---

# What /proc says of a process: state, threads, start time; nothing if it can't be read.
sub process {
    open my $file, '<', "/proc/$_[0]/stat" or return;
    my @fields = split ' ', <$file> =~ s/.*\)//sr;
    return @fields[0, 17, 19];
}

# Which process with its pid it is, by its start time; 0 in a time namespace, where those are others.
sub tag_of {
    my ($start) = @_;
    if (open my $file, '<', '/proc/self/timens_offsets') {
        return 0 if grep { /^boottime\s+(\S+)\s+(\S+)/ && ($1 || $2) } <$file>;
    }
    return 1 + $start % 511;
}

sub own_id {
    my ($pid_namespace) = @_;
    my $tag = tag_of((process('self'))[2]);
    my $inode = (stat '/proc/self/ns/pid')[1] // 0;
    return $$ | $tag << 22 | ($inode == $pid_namespace ? 0 : ID_FOREIGN);
}

sub is_dead {
    my ($other) = @_;
    return 0 if ($other | $id) & ID_FOREIGN;
    my ($pid, $tag) = ($other & 0x3fffff, $other >> 22 & 0x1ff);
    return 1 if !kill(0, $pid) && $! == ESRCH;
    my ($state, $threads, $start) = process($pid) or return 0;
    my $now = tag_of($start);
    return $state =~ /[ZX]/ && $threads <= 1 || $tag && $now && $tag != $now;
}

# A claim is in the way. The dead don't change their words: if this one's is the same after it was found dead, a
# plain store skips it.
sub judge {
    my ($at, $word) = @_;
    my $now = now();
    if ($claim ne "$pos $word") {
        ($claim, $judge_at) = ("$pos $word", $now + JUDGE_AFTER);
    } elsif ($now >= $judge_at) {
        $judge_at = $now + JUDGE_AGAIN;
        return unless is_dead($word & 0xffffffff) && u64($at) == $word;
        # Where others may have come round since, it passes the claim for itself.
        if ($flags & EACH_CONSUMER) { $pos = next_pos($pos) }
        else { set_u64($at, word(lap($pos), SKIP, 0)) }
    }
}

# --- opening ---

sub open_ring {
    open my $file, '+<:raw', $path or fail($!);
    fail(EOPNOTSUPP) if $Config{archname} !~ /^x86_64/ || $Config{ivsize} != 8;
    fail(EPROTO) if -s $file < SLOTS_OFFSET;
    map_handle($map, $file, '+<');
    (my $magic, my $version, $flags, $slots, $slot_bytes, my $offset, undef, my $pid_namespace) =
        unpack 'a8 L<4 Q<3', $map;
    fail(EPROTO)
        if $magic ne 'IPCFRING' || $version < 1 || $version > 2
        || ($version == 2 ? ($flags & ~ONE_PRODUCER) != EACH_CONSUMER : $flags & ~3)
        || $slots < 2 || $slots > 1 << 24 || $slots & $slots - 1
        || $slot_bytes < 16 || $slot_bytes > 1 << 20 || $slot_bytes % 8
        || $offset != SLOTS_OFFSET || SLOTS_OFFSET + $slots * $slot_bytes > -s $file;
    $order = length(sprintf '%b', $slots) - 1;
    $id = own_id($pid_namespace);
    my $at = dirname($path) . '/bell';
    open $bell, '>', $at or undef $bell;
    open $bell_to_read, '<', $at or undef $bell_to_read if -f $at;
    # Instead of a fence at each message: now a sleeper's call is one for us too.
    syscall SYS_MEMBARRIER, REGISTER_GLOBAL_EXPEDITED, 0, 0;
}

sub take_role {
    my ($at, $flag) = @_;
    fail(EOPNOTSUPP) unless $flags & $flag;    # that needs compare-and-swap
    my $holder = u32($at);
    fail(EBUSY) if $holder && !is_dead($holder);
    set_u32($at, $id);
    $role = 1;
}

# The one producer's first position from head on that is not published.
sub find_unpublished {
    my $at = u64(HEAD);
    for (1 .. $slots) {
        last if u64(slot($at)) >> 32 != (lap($at) << 2 | FULL);
        $at = next_pos($at);
    }
    return $at;
}

sub become_producer {
    take_role(PRODUCER, ONE_PRODUCER);
    # A predecessor may have died between publishing and storing head.
    $pos = find_unpublished();
}

sub later { minus($_[0], $_[1]) >= 0 ? $_[0] : $_[1] }

# Where each consumer sees everything.
sub become_one_of_all {
    $role = 1;
    if ($flags & ONE_PRODUCER) {
        my $found = find_unpublished();
        $pos = later(u64(HEAD), $found);
        return;
    }
    my $head = $pos = u64(HEAD);
    for (my ($before, $n) = (before($head), 1); $n <= LOOK_BACK && $n < $slots; $before = before($before), $n++) {
        my $word = u64(slot($before));
        last if $word >> 34 != lap($before);
        $pos = $before if ($word >> 32 & 3) == CLAIMED;
    }
}

sub become_consumer {
    return become_one_of_all() if $flags & EACH_CONSUMER;
    take_role(CONSUMER, ONE_CONSUMER);
    $pos = u64(TAIL);
}

# --- producing and consuming ---

# Returns true, or nothing when there is no room.
sub try_produce {
    my ($message) = @_;
    become_producer() unless $role;
    fail(EMSGSIZE) if length $message > $slot_bytes - 8;
    fail(EIDRM) if u32(WAIT_DATA) & CLOSED;
    my $used = $flags & EACH_CONSUMER ? 0 : minus($pos, u64(TAIL));
    return if $used == $slots;
    fail(EPROTO) if $used < 0 || $used > $slots;
    my $at = slot($pos);
    set_u64($at, word(lap($pos), CLAIMED, $id)) if $flags & EACH_CONSUMER;
    substr $map, $at + 8, length $message, $message;
    set_u64($at, word(lap($pos), FULL, length $message));
    $pos = next_pos($pos);
    set_u64(HEAD, $pos);
    wake(WAIT_DATA);
    return 1;
}

# Returns the message, or nothing.
sub try_consume {
    become_consumer() unless $role;
    fail(EIDRM) if u32(WAIT_SPACE) & CLOSED;
    while (1) {
        my $at = slot($pos);
        my $word = u64($at);
        my ($lap, $state, $n_bytes) = ($word >> 34, $word >> 32 & 3, $word & 0xffffffff);
        return if $lap == (lap($pos) - 1 & MASK_LAP);
        my $ahead = $lap - lap($pos) & MASK_LAP;
        if ($flags & EACH_CONSUMER && $ahead > 0 && $ahead < 1 << 29) {
            go_to_oldest($ahead);
            next;
        }
        fail(EPROTO) if $lap != lap($pos) || $state > CLAIMED;
        if ($state == CLAIMED) {
            judge($at, $word) unless ($flags & EACH_CONSUMER) && $flags & ONE_PRODUCER;
            return;
        }
        fail(EPROTO) if $n_bytes > $slot_bytes - 8;
        my $message = substr $map, $at + 8, $n_bytes;
        next if $flags & EACH_CONSUMER && u64($at) != $word;
        $claim = '';
        $pos = next_pos($pos);
        unless ($flags & EACH_CONSUMER) {
            set_u64(TAIL, $pos);
            wake(WAIT_SPACE);
        }
        return $message if $state == FULL;
    }
}

# It was overtaken.
sub go_to_oldest {
    my ($ahead) = @_;
    $pos = later(plus($pos, ($ahead - 1) * $slots + 1), plus(u64(HEAD), -$slots));
}

# --- waiting ---

sub wake { syswrite $bell, "\n" if $bell && u32($_[0]) & SLEEPERS }

# Looks on for a moment, then takes naps, longer ones as time goes by, until that returns something.
sub wait_for {
    my ($try) = @_;
    my $start = now();
    while (1) {
        my $result = $try->();
        return $result if defined $result;
        my $waited = now() - $start;
        next if $waited < LOOK_SECONDS;
        # Returns when the ring has changed since the last time, or earlier; but it tells of no death.
        next if $bell_to_read && !$claim && defined sysread $bell_to_read, my $change, 64;
        my $nap = $waited / 8;
        $nap = NAP_SECONDS if $nap < NAP_SECONDS;
        $nap = NAP_SECONDS_MAX if $nap > NAP_SECONDS_MAX;
        Time::HiRes::sleep($nap);
    }
}

open_ring();
binmode STDIN;
binmode STDOUT;
STDOUT->autoflush;
for (my $i = 0; !defined $count || $i < $count; $i++) {
    if ($verb eq 'produce') {
        defined(my $line = <STDIN>) or last;
        chomp $line;
        wait_for(sub { try_produce($line) });
    } else {
        print wait_for(\&try_consume) . "\n";
    }
}
