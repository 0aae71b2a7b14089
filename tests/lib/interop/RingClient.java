import static java.nio.ByteOrder.LITTLE_ENDIAN;

import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.RandomAccessFile;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.locks.LockSupport;

/**
 * A client of rings in Java, written from ipcfs-ring(7) alone, with nothing but the JDK (13 or newer).
 *
 * <pre>
 * java RingClient MAP produce [COUNT]    each line of stdin is a message
 * java RingClient MAP consume [COUNT]    prints each message as a line
 * </pre>
 *
 * A byte buffer's VarHandle has every atomic access that a ring needs, so Java takes part in rings of all
 * geometries. It has no futex: it wakes others, and waits, by the ring's bell. A buffer has at most 2 GiB, so larger
 * maps are refused.
 */
public final class RingClient implements AutoCloseable {
    private static final VarHandle U32 = MethodHandles.byteBufferViewVarHandle(int[].class, LITTLE_ENDIAN);
    private static final VarHandle U64 = MethodHandles.byteBufferViewVarHandle(long[].class, LITTLE_ENDIAN);

    private static final long MAGIC = 0x474e495246435049L;
    private static final int ONE_PRODUCER = 1;
    private static final int ONE_CONSUMER = 2;
    private static final int EACH_CONSUMER = 4;

    private static final int HEAD = 4096;
    private static final int PRODUCER = 4104;
    private static final int TAIL = 4224;
    private static final int CONSUMER = 4232;
    private static final int WAIT_DATA = 4352;
    private static final int WAIT_SPACE = 4480;
    private static final int SLOTS_OFFSET = 8192;

    private static final int SKIP = 0;
    private static final int FULL = 1;
    private static final int CLAIMED = 2;
    private static final int MASK_LAP = (1 << 30) - 1;

    private static final int ID_FOREIGN = 1 << 31;
    private static final int SLEEPERS = 1;
    private static final int CLOSED = 1 << 31;

    private static final long LOOK_NS = 20_000;
    private static final long NAP_NS = 1_000_000;
    private static final long NAP_NS_MAX = 10_000_000;
    private static final int LOOK_BACK = 65536;

    private static final long JUDGE_AFTER_NS = 1_000_000;
    private static final long JUDGE_AGAIN_NS = 5_000_000;

    private final ByteBuffer map;
    /** The file beside the map. A ring without a mount may have none, or one that can't be read. */
    private final OutputStream bell;
    private final InputStream bellToRead;
    private final int flags;
    private final boolean toEach;
    private final int slots;
    private final int order;
    private final int slotBytes;
    private final int id;

    /** The offset of the role's word, once it is ours. */
    private int role;
    /** The next position, where we are the one producer or consumer, or one of those who each see everything. */
    private long pos;
    /** Whether pos is where we consume, one of those. */
    private boolean hasBegun;

    private boolean claimed;
    private long claimPos;
    private long claimWord;
    private long judgeAt;

    public RingClient(Path path) throws IOException {
        map = mapWhole(path);
        if (map.capacity() < SLOTS_OFFSET || (long) U64.getAcquire(map, 0) != MAGIC) {
            throw new IOException("Protocol error");
        }
        int version = u32(8);
        flags = u32(12);
        slots = u32(16);
        slotBytes = u32(20);
        toEach = version == 2;
        if (version != 1 && version != 2
                || (toEach ? (flags & ~ONE_PRODUCER) != EACH_CONSUMER : (flags & ~(ONE_PRODUCER | ONE_CONSUMER)) != 0)
                || slots < 2 || slots > 1 << 24 || Integer.bitCount(slots) != 1
                || slotBytes < 16 || slotBytes > 1 << 20 || slotBytes % 8 != 0
                || u64(24) != SLOTS_OFFSET
                || (long) slots * slotBytes > map.capacity() - SLOTS_OFFSET) {
            throw new IOException("Protocol error");
        }
        order = Integer.numberOfTrailingZeros(slots);
        id = ownId(u64(40));
        Path beside = path.resolveSibling("bell");
        bell = Files.exists(beside) ? new FileOutputStream(beside.toFile()) : OutputStream.nullOutputStream();
        bellToRead = Files.isRegularFile(beside) ? new FileInputStream(beside.toFile()) : null;
    }

    private static ByteBuffer mapWhole(Path path) throws IOException {
        try (RandomAccessFile file = new RandomAccessFile(path.toFile(), "rw")) {
            if (file.length() > Integer.MAX_VALUE) {
                throw new IOException("File too large");
            }
            return file.getChannel().map(FileChannel.MapMode.READ_WRITE, 0, file.length()).order(LITTLE_ENDIAN);
        }
    }

    private int u32(int at) {
        return (int) U32.getOpaque(map, at);
    }

    private long u64(int at) {
        return (long) U64.getOpaque(map, at);
    }

    private int lap(long pos) {
        return (int) ((pos >>> order) + 1) & MASK_LAP;
    }

    private int slot(long pos) {
        return SLOTS_OFFSET + (int) (pos & slots - 1) * slotBytes;
    }

    private static long word(int lap, int state, int low) {
        return ((long) lap << 2 | state) << 32 | Integer.toUnsignedLong(low);
    }

    private static int lapOf(long word) {
        return (int) (word >>> 34);
    }

    private static int stateOf(long word) {
        return (int) (word >>> 32) & 3;
    }

    private void checkOpen(int waitWord) throws IOException {
        if ((u32(waitWord) & CLOSED) != 0) {
            throw new IOException("Identifier removed");
        }
    }

    // --- ids, and the dead ---

    /** The fields of /proc/PID/stat from the third, the state, on; null if it can't be read. */
    private static String[] processStat(String pid) {
        try {
            String stat = Files.readString(Path.of("/proc", pid, "stat"), StandardCharsets.ISO_8859_1);
            // Field 2 is the name in parentheses, whatever that holds.
            return stat.substring(stat.lastIndexOf(')') + 2).split(" ");
        } catch (IOException e) {
            return null;
        }
    }

    /** 0 where it can't be told. */
    private static int tag(String[] stat) {
        return inFirstTimeNamespace() ? 1 + (int) (Long.parseUnsignedLong(stat[19]) % 511) : 0;
    }

    /** Elsewhere start times are others. */
    private static boolean inFirstTimeNamespace() {
        try {
            return Files.readAllLines(Path.of("/proc/self/timens_offsets")).stream()
                    .filter(line -> line.startsWith("boottime"))
                    .allMatch(line -> line.matches("boottime +0 +0"));
        } catch (IOException e) {
            return true;
        }
    }

    private static int ownId(long pidNamespace) {
        int own = (int) ProcessHandle.current().pid() | tag(processStat("self")) << 22;
        try {
            long namespace = ((Number) Files.getAttribute(Path.of("/proc/self/ns/pid"), "unix:ino")).longValue();
            return namespace == pidNamespace ? own : own | ID_FOREIGN;
        } catch (IOException e) {
            return own | ID_FOREIGN;
        }
    }

    /** There is no kill(2) in the JDK; that /proc doesn't list a process tells as much where it lists all. */
    private static boolean procListsAll() {
        try {
            return Files.readAllLines(Path.of("/proc/self/mounts")).stream()
                    .map(line -> line.split(" "))
                    .filter(mount -> mount[1].equals("/proc"))
                    .noneMatch(mount -> mount[3].contains("hidepid="));
        } catch (IOException e) {
            return false;
        }
    }

    private boolean isDead(int other) {
        if (((other | id) & ID_FOREIGN) != 0) {
            return false;
        }
        String pid = Integer.toString(other & 0x3fffff);
        int tag = other >>> 22 & 0x1ff;
        if (Files.notExists(Path.of("/proc", pid))) {
            return procListsAll();
        }
        String[] stat = processStat(pid);
        if (stat == null) {
            return false;
        }
        boolean ended = stat[0].equals("Z") || stat[0].equals("X");
        int now = tag(stat);
        return ended && Integer.parseInt(stat[17]) <= 1 || tag != 0 && now != 0 && tag != now;
    }

    /** A claim is in the way: the first time that is noted, and after a while its claimer is judged. */
    private void judge(long pos, long claim) {
        long now = System.nanoTime();
        if (claimPos != pos || claimWord != claim) {
            claimPos = pos;
            claimWord = claim;
            judgeAt = now + JUDGE_AFTER_NS;
        } else if (now - judgeAt >= 0) {
            judgeAt = now + JUDGE_AGAIN_NS;
            if (isDead((int) claim)) {
                U64.compareAndSet(map, slot(pos), claim, word(lapOf(claim), SKIP, 0));
                U64.compareAndSet(map, HEAD, pos, pos + 1);
            }
        }
    }

    // --- the roles of the one producer and the one consumer ---

    /** Returns whether it is new. */
    private boolean takeRole(int at) throws IOException {
        if (role != 0) {
            return false;
        }
        int holder = (int) U32.getAcquire(map, at);
        if (holder != 0 && !isDead(holder) || !U32.compareAndSet(map, at, holder, id)) {
            throw new IOException("Device or resource busy");
        }
        role = at;
        return true;
    }

    private void becomeProducer() throws IOException {
        if (takeRole(PRODUCER)) {
            pos = findUnpublished(u64(HEAD));
        }
    }

    /**
     * Returns the one producer's first position from there on that is not published. A predecessor may have died
     * between publishing and storing head.
     */
    private long findUnpublished(long from) {
        long at = from;
        for (int i = 0; i < slots && (long) U64.getAcquire(map, slot(at)) >>> 32 == ((long) lap(at) << 2 | FULL); i++) {
            at++;
        }
        return at;
    }

    private void becomeConsumer() throws IOException {
        if (takeRole(CONSUMER)) {
            pos = (long) U64.getAcquire(map, TAIL);
        }
    }

    // --- producing ---

    /** Returns whether there was room. */
    public boolean tryProduce(byte[] message) throws IOException {
        if (message.length > slotBytes - 8) {
            throw new IOException("Message too long");
        }
        checkOpen(WAIT_DATA);
        boolean done = (flags & ONE_PRODUCER) != 0 ? produceAlone(message) : produceAmongMany(message);
        if (done) {
            wake(WAIT_DATA);
            if (toEach) {
                wake(WAIT_SPACE);
            }
        }
        return done;
    }

    private boolean hasRoom(long pos) throws IOException {
        long used = pos - (long) U64.getAcquire(map, TAIL);
        if (used < 0 || used > slots) {
            throw new IOException("Protocol error");
        }
        return used < slots;
    }

    private boolean produceAlone(byte[] message) throws IOException {
        becomeProducer();
        if (toEach) {
            // Who still reads the message a lap ago finds out.
            U64.setOpaque(map, slot(pos), word(lap(pos), CLAIMED, id));
            VarHandle.releaseFence();
        } else if (!hasRoom(pos)) {
            return false;
        }
        map.put(slot(pos) + 8, message);
        U64.setRelease(map, slot(pos), word(lap(pos), FULL, message.length));
        pos++;
        U64.setOpaque(map, HEAD, pos);
        VarHandle.fullFence();
        return true;
    }

    private boolean produceAmongMany(byte[] message) throws IOException {
        while (true) {
            long pos = (long) U64.getAcquire(map, HEAD);
            int at = slot(pos);
            long seen = (long) U64.getAcquire(map, at);
            int lap = lap(pos);
            if (lapOf(seen) == lap) {
                U64.compareAndSet(map, HEAD, pos, pos + 1);
                continue;
            }
            boolean isBehind = lapOf(seen) == (lap - 1 & MASK_LAP);
            claimed = toEach && isBehind && stateOf(seen) == CLAIMED;
            if (claimed) {
                judge(pos - slots, seen);
                return false;
            }
            // Where each sees everything nobody is waited for.
            long used = toEach ? 0 : pos - (long) U64.getAcquire(map, TAIL);
            // Tail has passed a claim: it was loaded before it was published.
            boolean early = stateOf(seen) == CLAIMED && used < slots;
            if (!isBehind || used < 0 || used > slots || early) {
                if (u64(HEAD) == pos && u64(at) == seen) {
                    throw new IOException("Protocol error");
                }
                continue;
            }
            if (used == slots) {
                return false;
            }
            long claim = word(lap, CLAIMED, id);
            if (!U64.compareAndSet(map, at, seen, claim)) {
                continue;
            }
            long head = (long) U64.compareAndExchange(map, HEAD, pos, pos + 1);
            if (head != pos && Long.compareUnsigned(head - pos, slots) > 0) {
                U64.compareAndSet(map, at, claim, seen); // we slept for 2^30 laps
                continue;
            }
            VarHandle.releaseFence(); // for those who read there a lap behind
            map.put(at + 8, message);
            if (!U64.compareAndSet(map, at, claim, word(lap, FULL, message.length))) {
                throw new IOException("Stale file handle"); // somebody took us for dead
            }
            return true;
        }
    }

    // --- consuming ---

    /** Returns the message, or null. */
    public byte[] tryConsume() throws IOException {
        if (toEach) {
            return consumeAsOneOfAll();
        }
        boolean one = (flags & ONE_CONSUMER) != 0;
        checkOpen(WAIT_SPACE);
        if (one) {
            becomeConsumer();
        }
        while (true) {
            long pos = one ? this.pos : (long) U64.getAcquire(map, TAIL);
            long seen = (long) U64.getAcquire(map, slot(pos));
            if (lapOf(seen) == (lap(pos) - 1 & MASK_LAP)) {
                return null;
            }
            boolean bad = lapOf(seen) != lap(pos) || stateOf(seen) > CLAIMED
                    || stateOf(seen) == FULL && Integer.compareUnsigned((int) seen, slotBytes - 8) > 0;
            if (bad) {
                if (!one && u64(TAIL) != pos) {
                    continue;
                }
                throw new IOException("Protocol error");
            }
            claimed = stateOf(seen) == CLAIMED;
            if (claimed) {
                judge(pos, seen);
                return null;
            }
            byte[] message = null;
            if (stateOf(seen) == FULL) {
                message = new byte[(int) seen];
                map.get(slot(pos) + 8, message);
            }
            if (!take(one, pos)) {
                continue; // another consumer has it
            }
            wake(WAIT_SPACE);
            if (message != null) {
                return message;
            }
        }
    }

    /** Returns the later of two positions that are not far from each other. */
    private static long later(long a, long b) {
        return a - b >= 0 ? a : b;
    }

    /** Where each sees everything: begins with what is published from now on. */
    private void begin() {
        long head = (long) U64.getAcquire(map, HEAD);
        if ((flags & ONE_PRODUCER) != 0) {
            long found = findUnpublished(head);
            pos = later((long) U64.getAcquire(map, HEAD), found);
            return;
        }
        pos = head;
        for (int n = 1; n <= LOOK_BACK && n < slots; n++) {
            long seen = (long) U64.getAcquire(map, slot(head - n));
            if (lapOf(seen) != lap(head - n)) {
                return;
            }
            if (stateOf(seen) == CLAIMED) {
                pos = head - n;
            }
        }
    }

    private byte[] consumeAsOneOfAll() throws IOException {
        checkOpen(WAIT_DATA);
        if (!hasBegun) {
            begin();
            hasBegun = true;
        }
        while (true) {
            int at = slot(pos);
            long seen = (long) U64.getAcquire(map, at);
            int ahead = lapOf(seen) - lap(pos) & MASK_LAP;
            if (ahead == MASK_LAP) {
                claimed = false;
                return null;
            }
            if (ahead > 0 && ahead < 1 << 29) {
                goToOldest(ahead);
                continue;
            }
            int state = stateOf(seen);
            if (ahead > 0 || state > CLAIMED
                    || state == FULL && Integer.compareUnsigned((int) seen, slotBytes - 8) > 0) {
                throw new IOException("Protocol error");
            }
            // The one producer's successor writes over its claim.
            claimed = state == CLAIMED && (flags & ONE_PRODUCER) == 0;
            if (claimed) {
                judge(pos, seen);
            }
            if (state == CLAIMED) {
                return null;
            }
            byte[] message = null;
            if (state == FULL) {
                message = new byte[(int) seen];
                map.get(at + 8, message);
            }
            VarHandle.acquireFence();
            if (u64(at) != seen) {
                continue; // what was copied may be half another message
            }
            pos++;
            if (message != null) {
                return message;
            }
        }
    }

    /** Producers have come round, by so many laps. */
    private void goToOldest(int ahead) {
        long last = pos + (long) ahead * slots;
        pos = later((long) U64.getAcquire(map, HEAD), last + 1) - slots;
    }

    private boolean take(boolean one, long pos) {
        if (!one) {
            return U64.compareAndSet(map, TAIL, pos, pos + 1);
        }
        this.pos = pos + 1;
        U64.setRelease(map, TAIL, pos + 1);
        VarHandle.fullFence();
        return true;
    }

    // --- waiting ---

    /** What came before must be fenced. */
    private void wake(int waitWord) throws IOException {
        if (((int) U32.getVolatile(map, waitWord) & SLEEPERS) != 0) {
            bell.write('\n');
        }
    }

    /** Looks on for a moment; then waits for the bell, or takes naps, longer ones as time goes by. */
    private void pause(long start) throws IOException {
        long waited = System.nanoTime() - start;
        if (waited < LOOK_NS) {
            Thread.onSpinWait();
        } else if (bellToRead != null && !claimed) {
            // Returns when the ring has changed since the last time, or earlier; but it tells of no death.
            bellToRead.read(new byte[64]);
        } else {
            LockSupport.parkNanos(Math.min(NAP_NS_MAX, Math.max(NAP_NS, waited / 8)));
        }
    }

    public void produce(byte[] message) throws IOException {
        long start = System.nanoTime();
        while (!tryProduce(message)) {
            pause(start);
        }
    }

    public byte[] consume() throws IOException {
        long start = System.nanoTime();
        byte[] message;
        while ((message = tryConsume()) == null) {
            pause(start);
        }
        return message;
    }

    @Override
    public void close() throws IOException {
        if (role != 0) {
            U32.setRelease(map, role, 0);
        }
        bell.close();
    }

    // --- the program ---

    /** Returns null at the end of file. */
    private static byte[] readLine(InputStream in) throws IOException {
        ByteArrayOutputStream line = new ByteArrayOutputStream();
        int c = in.read();
        if (c < 0) {
            return null;
        }
        for (; c >= 0 && c != '\n'; c = in.read()) {
            line.write(c);
        }
        return line.toByteArray();
    }

    private static void run(RingClient ring, boolean produces, long count) throws IOException {
        InputStream in = new BufferedInputStream(System.in);
        OutputStream out = new FileOutputStream(FileDescriptor.out);
        for (long i = 0; i < count; i++) {
            if (produces) {
                byte[] line = readLine(in);
                if (line == null) {
                    return;
                }
                ring.produce(line);
            } else {
                ByteArrayOutputStream line = new ByteArrayOutputStream();
                line.write(ring.consume());
                line.write('\n');
                line.writeTo(out);
            }
        }
    }

    public static void main(String[] args) {
        if (args.length < 2 || args.length > 3 || !args[1].matches("produce|consume")
                || args.length > 2 && !args[2].matches("[0-9]{1,18}")) {
            System.err.println("usage: java RingClient MAP produce|consume [COUNT]");
            System.exit(2);
        }
        try (RingClient ring = new RingClient(Path.of(args[0]))) {
            run(ring, args[1].equals("produce"), args.length > 2 ? Long.parseLong(args[2]) : Long.MAX_VALUE);
        } catch (IOException e) {
            System.err.println(args[0] + ": " + e.getMessage());
            System.exit(1);
        }
    }
}
