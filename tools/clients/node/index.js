'use strict';
// Mailboxes, topics and rings of an ipcfs mount, with promises. index.d.ts tells what each does.

const fs = require('fs');
const path = require('path');
const readline = require('readline');
const { spawn } = require('child_process');
const files = require('./lib/files');
const mounts = require('./lib/mounts');
const { makeError, told } = require('./lib/errors');
const { Message, render } = require('./lib/message');
const { xattr } = require('./lib/poller');

const { Files, limits, readRest, readSome } = files;

// Shorter than any envelope: a read of so much takes one message and no more. A large one would take as many as fit, and
// those that the program has not come to would be lost with it.
const FIRST_READ_BYTES = 32;
const READ_BYTES = 1 << 20;

const toBuffer = (data) => (typeof data === 'string' ? Buffer.from(data) : Buffer.from(data.buffer, data.byteOffset, data.byteLength));

function checkName(name) {
    if (!name || name.includes('/') || name === '.' || name === '..' || Buffer.byteLength(name) > 255)
        throw new TypeError(`no name: ${JSON.stringify(name)}`);
    return name;
}

// Reads key=value lines; numbers as numbers.
async function readSettings(file) {
    const text = await fs.promises.readFile(file, 'utf8').catch((error) => { throw told(error, file); });
    return Object.fromEntries(text.split('\n').filter(Boolean).map((line) => {
        const at = line.indexOf('=');
        const value = line.slice(at + 1);
        return [line.slice(0, at), /^\d+$/.test(value) ? Number(value) : value];
    }));
}

class Thing {
    constructor(directory) {
        this.path = directory;
        this.files = new Files(directory);
    }

    get name() {
        return path.basename(this.path);
    }

    config() {
        return readSettings(path.join(this.path, 'config'));
    }

    stat() {
        return readSettings(path.join(this.path, 'stat'));
    }

    async configure(settings) {
        const file = path.join(this.path, 'config');
        const text = Object.entries(settings).map(([key, value]) => `${key}=${value}\n`).join('');
        await fs.promises.writeFile(file, text).catch((error) => { throw told(error, file); });
    }

    // Unless it is there. What can't have its settings is not made.
    async make({ mode, settings } = {}) {
        try {
            await fs.promises.mkdir(this.path);
        } catch (error) {
            if (error.code === 'EEXIST')
                return;
            throw told(error, this.path);
        }
        try {
            if (mode !== undefined)
                await fs.promises.chmod(this.path, mode);
            if (settings)
                await this.configure(settings);
        } catch (error) {
            await fs.promises.rmdir(this.path).catch(() => {});
            throw error;
        }
    }

    close() {
        return this.files.close();
    }

    async remove() {
        await this.close();
        await fs.promises.rmdir(this.path).catch((error) => { throw told(error, this.path); });
    }
}

class Lease {
    constructor(message, settle) {
        this.message = message;
        this.settle = settle;
    }

    async finish(word) {
        const { settle } = this;
        this.settle = null;
        if (settle)
            await settle(word);
    }

    done() {
        return this.finish('done');
    }

    again() {
        return this.finish('again');
    }

    dead() {
        return this.finish('dead');
    }
}

class Queue extends Thing {
    async receive(options) {
        const until = limits(options);
        return this.files.with('recv.json', files.O_RDONLY, until, async (handle, retry) => {
            let part = await retry(() => readSome(handle, FIRST_READ_BYTES));
            const parts = [part];
            while (part.length > 0 && part[part.length - 1] !== 10) {
                part = await readSome(handle, READ_BYTES);
                parts.push(part);
            }
            if (part.length === 0)
                throw makeError('EIDRM', this.path, 'removed');
            return new Message(Buffer.concat(parts).toString());
        });
    }

    async receiveBytes(options) {
        const until = limits(options);
        return this.files.with('recv', files.O_RDONLY | files.O_DIRECT, until, (handle, retry) => retry(() => readSome(handle, READ_BYTES)));
    }

    // A message on lease. The file is its own until a word is written.
    async lease(options) {
        const until = limits(options);
        const file = path.join(this.path, 'work');
        let take;
        const taken = new Promise((resolve, reject) => { take = { resolve, reject }; });
        const finished = this.files.with('work', files.O_RDWR, until, async (handle, retry) => {
            const data = await readRest(handle, await retry(() => readSome(handle, READ_BYTES)));
            const envelope = await xattr(`/proc/${process.pid}/fd/${handle.fd}`, 'user.ipcfs.envelope');
            const word = await new Promise((say) => take.resolve(new Lease(new Message(envelope, data), (text) => {
                say(text);
                return finished;
            })));
            await handle.write(Buffer.from(word), 0, word.length, null);
        });
        finished.catch(take.reject);
        return taken.catch((error) => { throw told(error, file); });
    }

    async work(handle, options) {
        const lease = await this.lease(options);
        try {
            const result = await handle(lease.message);
            await lease.done();
            return result;
        } catch (error) {
            await lease.again();
            throw error;
        }
    }

    async reply(message, data) {
        const file = path.join(this.path, 'reply', String(message.id).padStart(20, '0'));
        await fs.promises.writeFile(file, toBuffer(data), { flag: fs.constants.O_WRONLY }).catch((error) => { throw told(error, file); });
    }

    async* [Symbol.asyncIterator]() {
        try {
            for (;;)
                yield await this.receive();
        } catch (error) {
            if (error.code !== 'EIDRM')
                throw error;
        }
    }
}

// What sends: of a mailbox, and of a topic.
async function send(thing, data, options = {}) {
    const { priority = 0, headers } = options;
    const body = toBuffer(data);
    const until = limits(options);
    if (!Number.isInteger(priority) || priority < 0 || priority > 31)
        throw new RangeError(`a priority is 0 to 31, not ${priority}`);
    const asLine = headers || body.length === 0;
    const name = asLine ? 'send.json' : priority ? `send.${priority}` : 'send';
    let rest = asLine ? render(body, priority, headers) : body;
    try {
        await thing.files.with(name, files.O_WRONLY, until, async (handle, retry) => {
            while (rest.length > 0) {
                const { bytesWritten } = await retry(() => handle.write(rest, 0, rest.length, null));
                rest = rest.subarray(bytesWritten);
            }
        });
    } catch (error) {
        if (error.code !== 'EMSGSIZE' || priority || headers)
            throw error;
        await drop(thing, body, until);
    }
}

// Longer than message_bytes: as a file, whole or not at all.
async function drop(thing, body, until) {
    const file = path.join(thing.path, 'drop', 'node');
    const flags = files.O_WRONLY | files.O_CREAT | files.O_EXCL | files.O_NONBLOCK;
    return thing.files.with('send', files.O_WRONLY, until, async (_, retry) => {
        const handle = await retry(() => fs.promises.open(file, flags, 0o600));
        try {
            await handle.writeFile(body);
        } finally {
            await handle.close();
        }
    });
}

class Mailbox extends Queue {
    send(data, options) {
        return send(this, data, options);
    }

    // By ipcctl call: the answer is this handle's, which only its own process can wait for.
    async call(data, options = {}) {
        const { signal, deadline } = limits(options);
        const file = path.join(this.path, 'call');
        return new Promise((resolve, reject) => {
            const child = spawn(process.env.IPCCTL || 'ipcctl', ['call', this.path], { stdio: ['pipe', 'pipe', 'pipe'] });
            const parts = [];
            let said = '';
            let timer;
            let why;
            const give = (error) => {
                why = error;
                child.kill();
            };
            const abort = () => give(signal.reason);
            child.on('error', reject);
            child.stdin.on('error', () => {});
            child.stdout.on('data', (part) => parts.push(part));
            child.stderr.on('data', (part) => { said += part; });
            child.on('close', (status) => {
                clearTimeout(timer);
                if (signal)
                    signal.removeEventListener('abort', abort);
                if (why)
                    return reject(why);
                return status === 0 ? resolve(Buffer.concat(parts)) : reject(Object.assign(makeError('EIO', file), { message: said.trim() }));
            });
            if (signal)
                signal.addEventListener('abort', abort, { once: true });
            if (deadline !== undefined)
                timer = setTimeout(() => give(makeError('ETIMEDOUT', file, 'no answer came')), Math.max(deadline - performance.now(), 0));
            child.stdin.end(toBuffer(data));
        });
    }
}

// A subscription for as long as it is open. A child reads it: what it is told is this handle's, which the poller can't share.
class Stream {
    constructor(fd) {
        this.child = spawn('cat', { stdio: [fd, 'pipe', 'inherit'] });
        this.lines = readline.createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
    }

    async receive() {
        const { value, done } = await this.lines.next();
        if (done)
            throw makeError('EIDRM', 'recv.json', 'the topic is gone, or the subscription closed');
        return new Message(value);
    }

    async close() {
        this.child.kill();
        await this.lines.return();
    }

    async* [Symbol.asyncIterator]() {
        for await (const line of this.lines)
            yield new Message(line);
    }
}

class Topic extends Thing {
    publish(data, options) {
        return send(this, data, options);
    }

    async subscribe() {
        const file = path.join(this.path, 'recv.json');
        const handle = await fs.promises.open(file, 'r').catch((error) => { throw told(error, file); });
        try {
            return new Stream(handle.fd);
        } finally {
            await handle.close();
        }
    }

    async subscription(name, options = {}) {
        const queue = new Queue(path.join(this.path, 'sub', checkName(name)));
        if (options.create)
            await queue.make(options);
        return queue;
    }
}

class Ring extends Thing {
    async produce(data, options) {
        const body = toBuffer(data);
        await this.files.with('send', files.O_WRONLY, limits(options), (handle, retry) => retry(() => handle.write(body, 0, body.length, null)));
    }

    async consume(options) {
        return this.files.with('recv', files.O_RDONLY | files.O_DIRECT, limits(options),
            (handle, retry) => retry(() => readSome(handle, READ_BYTES)));
    }
}

class Mount {
    constructor(directory) {
        this.path = mounts.find(directory);
    }

    async thing(Kind, room, name, options = {}) {
        const thing = new Kind(path.join(this.path, room, checkName(name)));
        if (options.create)
            await thing.make(options);
        return thing;
    }

    mailbox(name, options) {
        return this.thing(Mailbox, 'mbox', name, options);
    }

    topic(name, options) {
        return this.thing(Topic, 'topic', name, options);
    }

    ring(name, options) {
        return this.thing(Ring, 'ring', name, options);
    }

    process(pid = process.pid) {
        return new Mailbox(path.join(this.path, 'proc', String(pid)));
    }
}

module.exports = { Lease, Mailbox, Message, Mount, Queue, Ring, Stream, Topic };
