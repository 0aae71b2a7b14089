'use strict';
// Waits for files without a thread of libuv's pool: `ipcctl poll`, a process of this one's, has them in an epoll.
//
// Node can't poll a file that is no socket, and a read that waits takes one of the four threads of its pool: with four of
// them no file of the program is read any more. So every read and write here is O_NONBLOCK and returns at once, and what
// has to wait asks the poller. A native addon would save the process, and want a compiler or a binary for each version of Node.

const { spawn } = require('child_process');
const readline = require('readline');
const { makeError } = require('./errors');

class Poller {
    constructor() {
        this.child = null;
        this.asked = new Map(); // by id: { resolve, reject } or { onEvent, onError }
        this.lastId = 0;
    }

    start() {
        if (this.child)
            return this.child;
        const child = spawn(process.env.IPCCTL || 'ipcctl', ['poll'], { stdio: ['pipe', 'pipe', 'inherit'] });
        const end = (why) => {
            if (this.child === child)
                this.child = null;
            for (const [id, asked] of this.asked) {
                this.asked.delete(id);
                asked.onError(why);
            }
        };
        child.on('error', (error) => end(makeError(error.code, 'ipcctl', 'waiting needs ipcctl (package ipcfs)')));
        child.on('exit', () => end(makeError('EPIPE', 'ipcctl', 'ipcctl poll has ended')));
        child.stdin.on('error', () => {});
        readline.createInterface({ input: child.stdout }).on('line', (line) => this.hear(JSON.parse(line)));
        this.child = child;
        this.keepAlive();
        return child;
    }

    // It keeps the program running only while somebody waits.
    keepAlive() {
        const { child } = this;
        if (!child)
            return;
        for (const thing of [child, child.stdin, child.stdout])
            this.asked.size > 0 ? thing.ref() : thing.unref();
    }

    hear(answer) {
        const asked = this.asked.get(answer.id);
        if (!asked)
            return;
        if (answer.error) {
            this.asked.delete(answer.id);
            asked.onError(makeError(answer.errno === 43 ? 'EIDRM' : answer.error, asked.path));
        } else {
            asked.onEvent(answer);
        }
        this.keepAlive();
    }

    ask(request, path, onEvent, onError) {
        const id = ++this.lastId;
        this.asked.set(id, { path, onEvent, onError });
        this.start().stdin.write(`${JSON.stringify({ id, ...request })}\n`);
        this.keepAlive();
        return id;
    }

    forget(id) {
        if (this.asked.delete(id) && this.child)
            this.child.stdin.write(`${JSON.stringify({ id, drop: true })}\n`);
        this.keepAlive();
    }

    xattr(path, name) {
        return new Promise((resolve, reject) => {
            const id = this.ask({ xattr: path, name }, path, (answer) => {
                this.asked.delete(id);
                resolve(answer.value);
            }, reject);
        });
    }
}

const poller = new Poller();

// Whether the file has changed since the last time that it was asked.
class Watch {
    constructor(path, what) {
        this.path = path;
        this.what = what;
        this.id = 0;
        this.hasChanged = false;
        this.wake = null;
        this.error = null;
    }

    // Resolves once it has; rejects with the signal's reason, or after the deadline (of performance.now()).
    next({ signal, deadline }) {
        if (!this.id) {
            this.id = poller.ask({ watch: this.path, for: this.what }, this.path, () => {
                this.hasChanged = true;
                if (this.wake)
                    this.wake();
            }, (error) => {
                this.error = error;
                if (this.wake)
                    this.wake();
            });
        }
        return new Promise((resolve, reject) => {
            let timer;
            const settle = (action, value) => {
                clearTimeout(timer);
                if (signal)
                    signal.removeEventListener('abort', abort);
                this.wake = null;
                action(value);
            };
            const abort = () => settle(reject, signal.reason);
            this.wake = () => {
                if (this.error)
                    return settle(reject, this.error);
                this.hasChanged = false;
                return settle(resolve);
            };
            if (signal && signal.aborted)
                return abort();
            if (signal)
                signal.addEventListener('abort', abort, { once: true });
            if (deadline !== undefined) {
                timer = setTimeout(() => settle(reject, makeError('ETIMEDOUT', this.path, 'nothing happened in time')),
                    Math.max(deadline - performance.now(), 0));
            }
            if (this.hasChanged || this.error)
                this.wake();
        });
    }

    close() {
        if (this.id)
            poller.forget(this.id);
    }
}

module.exports = { Watch, xattr: (path, name) => poller.xattr(path, name) };
