//! A client of rings in Rust, written from ipcfs-ring(7) alone, with nothing but std and five system calls.
//!
//!     ring_client MAP produce [COUNT]    each line of stdin is a message
//!     ring_client MAP consume [COUNT]    prints each message as a line
//!
//! Rust has every atomic access that a ring needs, so it takes part in rings of all geometries and sleeps
//! on futexes. Messages are copied in atomic words as well: what another process may write meanwhile must
//! not be read in any other way.

use std::io::{self, BufRead, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::io::AsRawFd;
use std::sync::atomic::{
    fence, AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
};
use std::time::{Duration, Instant};
use std::{env, fs, hint, process, ptr, slice};

mod sys {
    use std::os::raw::{c_int, c_long, c_void};

    #[repr(C)]
    pub struct Timespec {
        pub seconds: i64,
        pub nanoseconds: c_long,
    }

    extern "C" {
        pub fn mmap(at: *mut c_void, len: usize, prot: c_int, flags: c_int, fd: c_int, offset: i64) -> *mut c_void;
        pub fn munmap(at: *mut c_void, len: usize) -> c_int;
        pub fn kill(pid: c_int, signal: c_int) -> c_int;
        pub fn syscall(number: c_long, ...) -> c_long;
    }

    #[cfg(target_arch = "x86_64")]
    pub const NUMBERS: (c_long, c_long) = (202, 324);
    #[cfg(not(target_arch = "x86_64"))] // the newer 64-bit ones
    pub const NUMBERS: (c_long, c_long) = (98, 283);
    pub const FUTEX: c_long = NUMBERS.0;
    pub const MEMBARRIER: c_long = NUMBERS.1;
    pub const FUTEX_WAIT: c_int = 0;
    pub const FUTEX_WAKE: c_int = 1;
    pub const MEMBARRIER_GLOBAL_EXPEDITED: c_int = 2;
    pub const PROT_READ_WRITE: c_int = 3;
    pub const MAP_SHARED: c_int = 1;
    pub const MAP_FAILED: *mut c_void = !0 as *mut c_void;
    pub const ESRCH: i32 = 3;
    pub const EBUSY: i32 = 16;
    pub const EIDRM: i32 = 43;
    pub const EPROTO: i32 = 71;
    pub const EMSGSIZE: i32 = 90;
    pub const ESTALE: i32 = 116;
}

const MAGIC: u64 = u64::from_le_bytes(*b"IPCFRING");
const ONE_PRODUCER: u32 = 1;
const ONE_CONSUMER: u32 = 2;
const EACH_CONSUMER: u32 = 4;

const HEAD: usize = 4096;
const PRODUCER: usize = 4104;
const TAIL: usize = 4224;
const CONSUMER: usize = 4232;
const WAIT_DATA: usize = 4352;
const WAIT_SPACE: usize = 4480;
const SLOTS_OFFSET: usize = 8192;

const SKIP: u64 = 0;
const FULL: u64 = 1;
const CLAIMED: u64 = 2;
const MASK_LAP: u64 = (1 << 30) - 1;

const ID_FOREIGN: u32 = 1 << 31;
const SLEEPERS: u32 = 1;
const CLOSED: u32 = 1 << 31;

const LOOK: Duration = Duration::from_micros(20);
const SLEEP: Duration = Duration::from_millis(200);
const SLEEP_UNFENCED: Duration = Duration::from_millis(10);
const LOOK_BACK: u64 = 65536;

const JUDGE_AFTER: Duration = Duration::from_millis(1);
const JUDGE_AGAIN: Duration = Duration::from_millis(5);

fn error<T>(errno: i32) -> io::Result<T> {
    Err(io::Error::from_raw_os_error(errno))
}

/// A slot's word.
fn word(lap: u64, state: u64, low: u32) -> u64 {
    (lap << 2 | state) << 32 | u64::from(low)
}

fn lap_of(word: u64) -> u64 {
    word >> 34
}

fn state_of(word: u64) -> u64 {
    word >> 32 & 3
}

/// Of two positions that are not far from each other.
fn later(a: u64, b: u64) -> u64 {
    if a.wrapping_sub(b) < 1 << 63 { a } else { b }
}

/// What /proc says of a process.
struct Process {
    state: char,
    threads: u64,
    start: u64,
}

impl Process {
    fn read(pid: &str) -> Option<Process> {
        let stat = fs::read(format!("/proc/{}/stat", pid)).ok()?;
        let stat = String::from_utf8_lossy(&stat);
        // Field 2 is the name in parentheses, whatever that holds.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        Some(Process {
            state: fields.get(0)?.chars().next()?,
            threads: fields.get(17)?.parse().ok()?,
            start: fields.get(19)?.parse().ok()?,
        })
    }

    /// 0: it can't be told.
    fn tag(&self) -> u32 {
        if in_first_time_namespace() { 1 + (self.start % 511) as u32 } else { 0 }
    }
}

/// Elsewhere start times are others.
fn in_first_time_namespace() -> bool {
    fs::read_to_string("/proc/self/timens_offsets").map_or(true, |offsets| {
        offsets.lines().all(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            fields.first() != Some(&"boottime") || fields[1..].iter().all(|&field| field == "0")
        })
    })
}

fn own_id(pid_namespace: u64) -> u32 {
    let tag = Process::read("self").map_or(0, |p| p.tag());
    let judges = fs::metadata("/proc/self/ns/pid").map_or(false, |m| m.ino() == pid_namespace);
    process::id() | tag << 22 | if judges { 0 } else { ID_FOREIGN }
}

/// The map. Its bytes are only ever accessed as atomics.
struct Map {
    base: *mut u8,
    len: usize,
}

impl Map {
    fn open(path: &str) -> io::Result<Map> {
        let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
        let len = file.metadata()?.len() as usize;
        if len < SLOTS_OFFSET {
            return error(sys::EPROTO);
        }
        let base =
            unsafe { sys::mmap(ptr::null_mut(), len, sys::PROT_READ_WRITE, sys::MAP_SHARED, file.as_raw_fd(), 0) };
        if base == sys::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Map { base: base.cast(), len })
    }

    fn u32(&self, at: usize) -> &AtomicU32 {
        assert!(at % 4 == 0 && at + 4 <= self.len);
        unsafe { &*self.base.add(at).cast() }
    }

    fn u64(&self, at: usize) -> &AtomicU64 {
        &self.words(at, 1)[0]
    }

    fn words(&self, at: usize, n: usize) -> &[AtomicU64] {
        assert!(at % 8 == 0 && at + 8 * n <= self.len);
        unsafe { slice::from_raw_parts(self.base.add(at).cast(), n) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        unsafe { sys::munmap(self.base.cast(), self.len) };
    }
}

/// The geometry, checked and copied.
struct Geometry {
    flags: u32,
    slots: u64,
    slot_bytes: usize,
    pid_namespace: u64,
}

impl Geometry {
    fn read(map: &Map) -> io::Result<Geometry> {
        let version = map.u32(8).load(Relaxed);
        if map.u64(0).load(Acquire) != MAGIC || !(1..=2).contains(&version) {
            return error(sys::EPROTO);
        }
        let flags = map.u32(12).load(Relaxed);
        let slots = map.u32(16).load(Relaxed) as usize;
        let slot_bytes = map.u32(20).load(Relaxed) as usize;
        let flags_are_known = match version {
            2 => flags & !ONE_PRODUCER == EACH_CONSUMER,
            _ => flags & !(ONE_PRODUCER | ONE_CONSUMER) == 0,
        };
        if !flags_are_known
            || !slots.is_power_of_two()
            || !(2..=1 << 24).contains(&slots)
            || slot_bytes % 8 != 0
            || !(16..=1 << 20).contains(&slot_bytes)
            || map.u64(24).load(Relaxed) != SLOTS_OFFSET as u64
            || slots * slot_bytes > map.len - SLOTS_OFFSET
        {
            return error(sys::EPROTO);
        }
        Ok(Geometry { flags, slots: slots as u64, slot_bytes, pid_namespace: map.u64(40).load(Relaxed) })
    }
}

/// What a look at the ring gave.
enum Look<T> {
    Done(T),
    Full,
    Empty,
    /// This claim is in the way.
    Claim { pos: u64, word: u64 },
}

/// One end of a ring.
struct Ring {
    map: Map,
    flags: u32,
    slots: u64,
    slot_bytes: usize,
    id: u32,
    /// The offset of the role's word, once it is ours.
    role: Option<usize>,
    /// The next position, where we are the one producer or consumer, or one of those who each see everything.
    pos: u64,
    /// Whether pos is where we consume, one of those.
    has_begun: bool,
}

impl Ring {
    fn open(path: &str) -> io::Result<Ring> {
        let map = Map::open(path)?;
        let Geometry { flags, slots, slot_bytes, pid_namespace } = Geometry::read(&map)?;
        Ok(Ring { map, flags, slots, slot_bytes, id: own_id(pid_namespace), role: None, pos: 0, has_begun: false })
    }

    fn to_each(&self) -> bool {
        self.flags & EACH_CONSUMER != 0
    }

    fn lap(&self, pos: u64) -> u64 {
        (pos / self.slots).wrapping_add(1) & MASK_LAP
    }

    fn slot(&self, pos: u64) -> usize {
        SLOTS_OFFSET + (pos % self.slots) as usize * self.slot_bytes
    }

    fn word(&self, pos: u64) -> &AtomicU64 {
        self.map.u64(self.slot(pos))
    }

    fn message_bytes(&self) -> usize {
        self.slot_bytes - 8
    }

    fn write_message(&self, pos: u64, message: &[u8]) {
        let words = self.map.words(self.slot(pos) + 8, self.message_bytes() / 8);
        for (to, from) in words.iter().zip(message.chunks(8)) {
            let mut bytes = [0; 8];
            bytes[..from.len()].copy_from_slice(from);
            to.store(u64::from_ne_bytes(bytes), Relaxed);
        }
    }

    fn read_message(&self, pos: u64, word: u64) -> io::Result<Vec<u8>> {
        let len = word as u32 as usize;
        if len > self.message_bytes() {
            return error(sys::EPROTO);
        }
        let words = self.map.words(self.slot(pos) + 8, (len + 7) / 8);
        let mut message: Vec<u8> = Vec::with_capacity(words.len() * 8);
        for from in words {
            message.extend_from_slice(&from.load(Relaxed).to_ne_bytes());
        }
        message.truncate(len);
        Ok(message)
    }

    fn check_open(&self, wait_word: usize) -> io::Result<()> {
        if self.map.u32(wait_word).load(Relaxed) & CLOSED != 0 {
            return error(sys::EIDRM);
        }
        Ok(())
    }

    // --- the dead ---

    fn is_dead(&self, id: u32) -> bool {
        if (id | self.id) & ID_FOREIGN != 0 {
            return false;
        }
        let (pid, tag) = (id & 0x3f_ffff, id >> 22 & 0x1ff);
        if unsafe { sys::kill(pid as i32, 0) } < 0 && io::Error::last_os_error().raw_os_error() == Some(sys::ESRCH) {
            return true;
        }
        Process::read(&pid.to_string())
            .map_or(false, |p| "ZX".contains(p.state) && p.threads <= 1 || tag != 0 && ![0, tag].contains(&p.tag()))
    }

    fn bury(&self, pos: u64, claim: u64) {
        if self.is_dead(claim as u32) {
            let skip = word(lap_of(claim), SKIP, 0);
            let _ = self.word(pos).compare_exchange(claim, skip, SeqCst, Relaxed);
            let _ = self.advance_head(pos);
        }
    }

    fn advance_head(&self, pos: u64) -> Result<u64, u64> {
        self.map.u64(HEAD).compare_exchange(pos, pos.wrapping_add(1), SeqCst, Acquire)
    }

    // --- the roles of the one producer and the one consumer ---

    /// Returns whether it is new.
    fn take_role(&mut self, at: usize) -> io::Result<bool> {
        if self.role.is_some() {
            return Ok(false);
        }
        let word = self.map.u32(at);
        let holder = word.load(Acquire);
        if holder != 0 && !self.is_dead(holder) || word.compare_exchange(holder, self.id, AcqRel, Relaxed).is_err() {
            return error(sys::EBUSY);
        }
        self.role = Some(at);
        Ok(true)
    }

    fn become_producer(&mut self) -> io::Result<()> {
        if self.take_role(PRODUCER)? {
            self.pos = self.find_unpublished(self.map.u64(HEAD).load(Relaxed));
        }
        Ok(())
    }

    /// Returns the one producer's first position from there on that is not published. A predecessor may have died
    /// between publishing and storing head.
    fn find_unpublished(&self, mut pos: u64) -> u64 {
        for _ in 0..self.slots {
            if self.word(pos).load(Acquire) >> 32 != self.lap(pos) << 2 | FULL {
                break;
            }
            pos = pos.wrapping_add(1);
        }
        pos
    }

    fn become_consumer(&mut self) -> io::Result<()> {
        if self.take_role(CONSUMER)? {
            self.pos = self.map.u64(TAIL).load(Acquire);
        }
        Ok(())
    }

    // --- producing ---

    fn try_produce(&mut self, message: &[u8]) -> io::Result<Look<()>> {
        if message.len() > self.message_bytes() {
            return error(sys::EMSGSIZE);
        }
        self.check_open(WAIT_DATA)?;
        if self.flags & ONE_PRODUCER == 0 {
            return self.produce_as_one_of_many(message);
        }
        self.become_producer()?;
        if self.to_each() {
            // Who still reads the message a lap ago finds out.
            self.word(self.pos).store(word(self.lap(self.pos), CLAIMED, self.id), Relaxed);
            fence(Release);
        } else {
            let used = self.pos.wrapping_sub(self.map.u64(TAIL).load(Acquire));
            if used == self.slots {
                return Ok(Look::Full);
            }
            if used > self.slots {
                return error(sys::EPROTO);
            }
        }
        self.write_message(self.pos, message);
        self.word(self.pos).store(word(self.lap(self.pos), FULL, message.len() as u32), Release);
        self.pos = self.pos.wrapping_add(1);
        self.map.u64(HEAD).store(self.pos, Relaxed);
        fence(SeqCst);
        self.wake(WAIT_DATA);
        Ok(Look::Done(()))
    }

    fn produce_as_one_of_many(&self, message: &[u8]) -> io::Result<Look<()>> {
        let pos = match self.claim()? {
            Look::Done(pos) => pos,
            Look::Claim { pos, word } => return Ok(Look::Claim { pos, word }),
            _ => return Ok(Look::Full),
        };
        fence(Release); // for those who read there a lap behind
        self.write_message(pos, message);
        let claim = word(self.lap(pos), CLAIMED, self.id);
        let full = word(self.lap(pos), FULL, message.len() as u32);
        if self.word(pos).compare_exchange(claim, full, SeqCst, Relaxed).is_err() {
            return error(sys::ESTALE); // somebody took us for dead
        }
        self.wake(WAIT_DATA);
        if self.to_each() {
            self.wake(WAIT_SPACE);
        }
        Ok(Look::Done(()))
    }

    /// Returns the position that is now ours to fill.
    fn claim(&self) -> io::Result<Look<u64>> {
        loop {
            let pos = self.map.u64(HEAD).load(Acquire);
            let seen = self.word(pos).load(Acquire);
            let lap = self.lap(pos);
            if lap_of(seen) == lap {
                let _ = self.advance_head(pos);
                continue;
            }
            let is_behind = lap_of(seen) == lap.wrapping_sub(1) & MASK_LAP;
            if self.to_each() && is_behind && state_of(seen) == CLAIMED {
                return Ok(Look::Claim { pos: pos.wrapping_sub(self.slots), word: seen });
            }
            // Where each sees everything nobody is waited for.
            let used = if self.to_each() { 0 } else { pos.wrapping_sub(self.map.u64(TAIL).load(Acquire)) };
            // Tail has passed a claim: it was loaded before it was published.
            let early = state_of(seen) == CLAIMED && used < self.slots;
            if !is_behind || used > self.slots || early {
                if self.map.u64(HEAD).load(Relaxed) != pos || self.word(pos).load(Relaxed) != seen {
                    continue;
                }
                return error(sys::EPROTO);
            }
            if used == self.slots {
                return Ok(Look::Full);
            }
            let claim = word(lap, CLAIMED, self.id);
            if self.word(pos).compare_exchange(seen, claim, AcqRel, Relaxed).is_err() {
                continue;
            }
            match self.advance_head(pos) {
                // We slept for 2^30 laps.
                Err(head) if head.wrapping_sub(pos) > self.slots => {
                    let _ = self.word(pos).compare_exchange(claim, seen, AcqRel, Relaxed);
                }
                _ => return Ok(Look::Done(pos)),
            }
        }
    }

    // --- consuming ---

    fn try_consume(&mut self) -> io::Result<Look<Vec<u8>>> {
        if self.to_each() {
            return self.consume_as_one_of_all();
        }
        self.check_open(WAIT_SPACE)?;
        let one = self.flags & ONE_CONSUMER != 0;
        if one {
            self.become_consumer()?;
        }
        loop {
            let pos = if one { self.pos } else { self.map.u64(TAIL).load(Acquire) };
            let seen = self.word(pos).load(Acquire);
            let lap = self.lap(pos);
            if lap_of(seen) == lap.wrapping_sub(1) & MASK_LAP {
                return Ok(Look::Empty);
            }
            if lap_of(seen) != lap || state_of(seen) > CLAIMED {
                if !one && self.map.u64(TAIL).load(Relaxed) != pos {
                    continue;
                }
                return error(sys::EPROTO);
            }
            if state_of(seen) == CLAIMED {
                return Ok(Look::Claim { pos, word: seen });
            }
            let message = match state_of(seen) {
                FULL => match self.read_message(pos, seen) {
                    Err(_) if !one && self.map.u64(TAIL).load(Relaxed) != pos => continue,
                    other => Some(other?),
                },
                _ => None,
            };
            if !self.advance_tail(one, pos) {
                continue; // another consumer has it
            }
            self.wake(WAIT_SPACE);
            if let Some(message) = message {
                return Ok(Look::Done(message));
            }
        }
    }

    /// Where each sees everything: begins with what is published from now on.
    fn begin(&mut self) {
        let head = self.map.u64(HEAD).load(Acquire);
        if self.flags & ONE_PRODUCER != 0 {
            let found = self.find_unpublished(head);
            self.pos = later(self.map.u64(HEAD).load(Acquire), found);
            return;
        }
        self.pos = head;
        for n in 1..self.slots.min(LOOK_BACK + 1) {
            let before = head.wrapping_sub(n);
            let seen = self.word(before).load(Acquire);
            if lap_of(seen) != self.lap(before) {
                break;
            }
            if state_of(seen) == CLAIMED {
                self.pos = before;
            }
        }
    }

    fn consume_as_one_of_all(&mut self) -> io::Result<Look<Vec<u8>>> {
        self.check_open(WAIT_DATA)?;
        if !self.has_begun {
            self.begin();
            self.has_begun = true;
        }
        loop {
            let pos = self.pos;
            let seen = self.word(pos).load(Acquire);
            match lap_of(seen).wrapping_sub(self.lap(pos)) & MASK_LAP {
                0 => (),
                MASK_LAP => return Ok(Look::Empty),
                ahead if ahead < 1 << 29 => {
                    self.go_to_oldest(ahead);
                    continue;
                }
                _ => return error(sys::EPROTO),
            }
            let message = match state_of(seen) {
                FULL => Some(self.read_message(pos, seen)?),
                SKIP => None,
                // The one producer's successor writes over its claim.
                CLAIMED if self.flags & ONE_PRODUCER != 0 => return Ok(Look::Empty),
                CLAIMED => return Ok(Look::Claim { pos, word: seen }),
                _ => return error(sys::EPROTO),
            };
            fence(Acquire);
            if self.word(pos).load(Relaxed) != seen {
                continue; // what was copied may be half another message
            }
            self.pos = pos.wrapping_add(1);
            if let Some(message) = message {
                return Ok(Look::Done(message));
            }
        }
    }

    /// Producers have come round, by so many laps.
    fn go_to_oldest(&mut self, ahead: u64) {
        let claimed = self.pos.wrapping_add(ahead.wrapping_mul(self.slots));
        let head = later(self.map.u64(HEAD).load(Acquire), claimed.wrapping_add(1));
        self.pos = head.wrapping_sub(self.slots);
    }

    fn advance_tail(&mut self, one: bool, pos: u64) -> bool {
        let next = pos.wrapping_add(1);
        if !one {
            return self.map.u64(TAIL).compare_exchange(pos, next, SeqCst, Relaxed).is_ok();
        }
        self.pos = next;
        self.map.u64(TAIL).store(next, Release);
        fence(SeqCst);
        true
    }

    // --- waiting ---

    /// What came before must be fenced.
    fn wake(&self, at: usize) {
        let wait_word = self.map.u32(at);
        let seen = wait_word.load(SeqCst);
        if seen & SLEEPERS == 0 {
            return;
        }
        let next = seen.wrapping_add(1) & !CLOSED | seen & CLOSED;
        if wait_word.compare_exchange(seen, next, SeqCst, Relaxed).is_ok() {
            unsafe { sys::syscall(sys::FUTEX, wait_word, sys::FUTEX_WAKE, i32::MAX) };
        }
    }

    /// Announces a sleeper. Returns what to sleep on, and for how long at most.
    fn prepare_sleep(&self, at: usize) -> (u32, Duration) {
        let value = self.map.u32(at).fetch_or(SLEEPERS, SeqCst) | SLEEPERS;
        let fenced = unsafe { sys::syscall(sys::MEMBARRIER, sys::MEMBARRIER_GLOBAL_EXPEDITED, 0, 0) } == 0;
        (value, if fenced { SLEEP } else { SLEEP_UNFENCED })
    }

    fn sleep(&self, at: usize, value: u32, longest: Duration) {
        let timeout = sys::Timespec {
            seconds: longest.as_secs() as i64,
            nanoseconds: longest.subsec_nanos().into(),
        };
        unsafe { sys::syscall(sys::FUTEX, self.map.u32(at), sys::FUTEX_WAIT, value, &timeout) };
    }

    /// Looks, sleeps, looks again, until there is something to do.
    fn wait<T>(&mut self, at: usize, mut look: impl FnMut(&mut Ring) -> io::Result<Look<T>>) -> io::Result<T> {
        let start = Instant::now();
        let mut in_the_way = (0, 0);
        let mut judge_at = start;
        let mut armed = None;
        loop {
            let seen = look(self)?;
            let claim = match seen {
                Look::Done(value) => return Ok(value),
                Look::Claim { pos, word } => Some((pos, word)),
                _ => None,
            };
            let now = Instant::now();
            if let Some((pos, word)) = claim {
                if in_the_way != (pos, word) {
                    in_the_way = (pos, word);
                    judge_at = now + JUDGE_AFTER;
                } else if now >= judge_at {
                    self.bury(pos, word);
                    judge_at = now + JUDGE_AGAIN;
                }
            }
            armed = match armed {
                _ if now - start < LOOK => {
                    hint::spin_loop();
                    None
                }
                None => Some(self.prepare_sleep(at)),
                Some((value, longest)) => {
                    self.sleep(at, value, if claim.is_some() { longest.min(JUDGE_AGAIN) } else { longest });
                    None
                }
            };
        }
    }

    fn produce(&mut self, message: &[u8]) -> io::Result<()> {
        self.wait(WAIT_SPACE, |ring| ring.try_produce(message))
    }

    fn consume(&mut self) -> io::Result<Vec<u8>> {
        self.wait(WAIT_DATA, Ring::try_consume)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if let Some(at) = self.role {
            self.map.u32(at).store(0, Release);
        }
    }
}

fn produce(ring: &mut Ring, count: usize) -> io::Result<()> {
    for line in io::stdin().lock().split(b'\n').take(count) {
        ring.produce(&line?)?;
    }
    Ok(())
}

fn consume(ring: &mut Ring, count: usize) -> io::Result<()> {
    let stdout = io::stdout();
    for _ in 0..count {
        let mut message = ring.consume()?;
        message.push(b'\n');
        let mut out = stdout.lock();
        out.write_all(&message)?;
        out.flush()?;
    }
    Ok(())
}

fn run(path: &str, verb: &str, count: usize) -> io::Result<()> {
    let mut ring = Ring::open(path)?;
    if verb == "produce" {
        produce(&mut ring, count)
    } else {
        consume(&mut ring, count)
    }
}

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let count = args.get(2).map_or(Ok(usize::MAX), |n| n.parse());
    match (args.as_slice(), count) {
        ([path, verb, ..], Ok(count)) if args.len() <= 3 && ["produce", "consume"].contains(&verb.as_str()) => {
            if let Err(e) = run(path, verb, count) {
                let text = e.to_string();
                eprintln!("{}: {}", path, text.split(" (os error").next().unwrap_or(""));
                process::exit(1);
            }
        }
        _ => {
            eprintln!("usage: ring_client MAP produce|consume [COUNT]");
            process::exit(2);
        }
    }
}
