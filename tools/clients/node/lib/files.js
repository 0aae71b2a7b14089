'use strict';
// Open files of a mailbox, a pool of them by name, and reads and writes that wait without a thread.

const fs = require('fs');
const path = require('path');
const { told } = require('./errors');
const { Watch } = require('./poller');

const { O_RDONLY, O_WRONLY, O_RDWR, O_NONBLOCK, O_DIRECT, O_CREAT, O_EXCL } = fs.constants;

// `timeout` in milliseconds becomes a moment.
function limits({ timeout, signal } = {}) {
    if (signal && signal.aborted)
        throw signal.reason;
    return { signal, deadline: timeout === undefined ? undefined : performance.now() + timeout };
}

class Files {
    constructor(directory) {
        this.directory = directory;
        this.idle = new Map();
    }

    // Runs @use(handle, retry) with an open file that is its own for so long. retry(attempt) calls @attempt until it is not
    // told to wait. What is left in an error is closed: who knows where it stands.
    async with(name, flags, options, use) {
        const file = path.join(this.directory, name);
        const what = { [O_WRONLY]: 'write', [O_RDWR]: 'work' }[flags & 3] || 'read';
        const watch = new Watch(file, what);
        let handle = (this.idle.get(name) || []).pop();
        let keeps = false;
        try {
            handle = handle || await fs.promises.open(file, flags | O_NONBLOCK);
            const result = await use(handle, async (attempt) => {
                for (;;) {
                    try {
                        // Once it is under way it is let to its end: what it takes is not lost to an abort.
                        return await attempt();
                    } catch (error) {
                        if (error.code !== 'EAGAIN')
                            throw error;
                    }
                    await watch.next(options);
                }
            });
            keeps = true;
            return result;
        } catch (error) {
            throw told(error, file);
        } finally {
            watch.close();
            if (keeps) {
                this.idle.set(name, [...(this.idle.get(name) || []), handle]);
            } else if (handle) {
                await handle.close().catch(() => {});
            }
        }
    }

    async close() {
        const lists = [...this.idle.values()];
        this.idle.clear();
        await Promise.all(lists.flat().map((handle) => handle.close()));
    }
}

// Up to the end of file, which comes at once: the message is taken already.
async function readRest(handle, first) {
    const parts = [first];
    for (let last = first; last.length > 0; parts.push(last))
        last = await readSome(handle, 1 << 20);
    return Buffer.concat(parts);
}

async function readSome(handle, size) {
    const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(size), 0, size, null);
    return buffer.subarray(0, bytesRead);
}

module.exports = { Files, limits, readRest, readSome, O_RDONLY, O_WRONLY, O_RDWR, O_NONBLOCK, O_DIRECT, O_CREAT, O_EXCL };
