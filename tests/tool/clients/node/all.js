'use strict';
// The Node package against a mount: node --test.

const assert = require('assert/strict');
const fs = require('fs');
const path = require('path');
const { spawn, execFileSync } = require('child_process');
const { test } = require('node:test');
const { Mount } = require('ipcfs');

const PATIENCE = 60000;
const mount = new Mount();
let n = 0;

// A test with a mailbox of its own.
function inBox(name, settings, run) {
    test(name, async () => {
        const box = await mount.mailbox(`node${++n}`, { create: true, settings });
        try {
            await run(box);
        } finally {
            execFileSync(process.env.IPCCTL, ['rm', '-f', box.path]);
            await box.close();
        }
    });
}

const turn = () => new Promise((resolve) => { setTimeout(resolve, 50); });

test('the mount is found', () => {
    assert.equal(mount.path, process.env.IPCFS_MOUNT);
    assert.throws(() => new Mount('/nowhere'), { code: 'ENOENT', message: /there is no ipcfs/ });
});

test('what is no name', async () => {
    for (const name of ['', '.', '..', 'a/b', 'x'.repeat(256)])
        await assert.rejects(mount.mailbox(name), TypeError);
});

inBox('bytes come as they went', {}, async (box) => {
    for (const data of ['', 'café', Buffer.from([0xff, 0xfe, 0]), 'x\n\n', 'z'.repeat(65536), 'long'.repeat(100000)]) {
        await box.send(data);
        const message = await box.receive({ timeout: PATIENCE });
        assert.deepEqual(message.data, Buffer.from(data));
        assert.deepEqual([message.pid, message.uid], [process.pid, process.getuid()]);
    }
});

inBox('priority and headers', {}, async (box) => {
    await box.send('low');
    await box.send('high', { priority: 9, headers: { table: '7' } });
    const first = await box.receive({ timeout: PATIENCE });
    const second = await box.receive({ timeout: PATIENCE });
    assert.deepEqual([first.text, first.priority, first.headers], ['high', 9, { table: '7' }]);
    assert.ok(second.id < first.id && second.time <= first.time);
    await assert.rejects(box.send('x', { priority: 32 }), RangeError);
});

inBox('a receive takes one message and no more', {}, async (box) => {
    for (let i = 0; i < 20; i++)
        await box.send(String(i));
    assert.equal((await box.receive()).text, '0');
    assert.equal((await box.receiveBytes()).toString(), '1');
    assert.equal((await box.stat()).messages, 18);
});

inBox('what waits takes no thread of the pool', {}, async (box) => {
    const receivers = Array.from({ length: 40 }, () => box.receive({ timeout: PATIENCE }));
    await turn();
    assert.match(await fs.promises.readFile('/proc/version', 'utf8'), /Linux/);
    for (let i = 0; i < 40; i++)
        await box.send(String(i));
    const got = (await Promise.all(receivers)).map((message) => Number(message.text));
    assert.deepEqual(got.sort((a, b) => a - b), Array.from({ length: 40 }, (_, i) => i));
});

inBox('a timeout and an abort take nothing', { messages: 1 }, async (box) => {
    await assert.rejects(box.receive({ timeout: 50 }), { name: 'TimeoutError', code: 'ETIMEDOUT' });
    const controller = new AbortController();
    const receiver = box.receive({ signal: controller.signal });
    await turn();
    controller.abort();
    await assert.rejects(receiver, { name: 'AbortError' });
    await assert.rejects(box.receive({ signal: controller.signal }), { name: 'AbortError' });
    await box.send('full');
    await assert.rejects(box.send('x', { timeout: 50 }), { code: 'ETIMEDOUT' });
    assert.equal((await box.receive({ timeout: PATIENCE })).text, 'full');
    assert.equal((await box.stat()).messages, 0);
});

inBox('aborted at the moment in which it comes', {}, async (box) => {
    for (let i = 0; i < 30; i++) {
        const controller = new AbortController();
        const receiver = box.receive({ signal: controller.signal }).catch((error) => error.name);
        await box.send(String(i));
        for (let j = 0; j < i % 4; j++)
            await new Promise(setImmediate);
        controller.abort();
        const got = await receiver;
        const message = got === 'AbortError' ? await box.receive({ timeout: PATIENCE }) : got;
        assert.equal(message.text, String(i));
    }
});

inBox('a sender waits for room', { messages: 1 }, async (box) => {
    await box.send('first');
    const sender = box.send('second', { timeout: PATIENCE });
    await turn();
    assert.equal((await box.receive()).text, 'first');
    await sender;
    assert.equal((await box.receive()).text, 'second');
});

test('iteration ends with the mailbox', async () => {
    const box = await mount.mailbox('short', { create: true });
    const got = [];
    const reader = (async () => {
        for await (const message of await mount.mailbox('short'))
            got.push(message.text);
    })();
    for (let i = 0; i < 3; i++)
        await box.send(String(i));
    while (got.length < 3)
        await turn();
    await box.remove();
    await reader;
    await assert.rejects(box.send('x'), { code: 'ENOENT' });
});

inBox('errors have their kind', { overflow: 'reject', messages: 1 }, async (box) => {
    await box.send('first');
    await assert.rejects(box.send('x'), { name: 'Full', code: 'ENOBUFS', path: path.join(box.path, 'send') });
    await assert.rejects(box.configure({ messages: 'many' }), { code: 'EINVAL' });
    await assert.rejects(box.send(Buffer.alloc(65537), { priority: 1 }), { name: 'MessageTooLong', code: 'EMSGSIZE' });
});

inBox('questions and answers', {}, async (box) => {
    const server = (async () => {
        for (let i = 0; i < 2; i++) {
            const message = await box.receive({ timeout: PATIENCE });
            assert.ok(message.isCall);
            await box.reply(message, message.text.toUpperCase());
        }
    })();
    assert.equal((await box.call('one', { timeout: PATIENCE })).toString(), 'ONE');
    assert.equal((await box.call('two', { timeout: PATIENCE })).toString(), 'TWO');
    await server;
    await assert.rejects(box.call('anybody?', { timeout: 300 }), { code: 'ETIMEDOUT' });
});

test('a ring, with a mapped peer', async () => {
    const ring = await mount.ring('node', { create: true, settings: { slots: 4, slot_bytes: 16 } });
    const consumer = ring.consume({ timeout: PATIENCE });
    await turn();
    execFileSync(process.env.IPCCTL, ['ring', 'put', ring.path], { input: 'mapped\n' });
    assert.equal((await consumer).toString(), 'mapped');
    for (let i = 0; i < 4; i++)
        await ring.produce(String(i));
    await assert.rejects(ring.produce('x', { timeout: 50 }), { code: 'ETIMEDOUT' });
    assert.equal((await ring.consume()).toString(), '0');
    execFileSync(process.env.IPCCTL, ['ring', 'get', ring.path, '-n', '3', '-t', '0']);
    await ring.remove();
});

test('a program that waits for nothing ends', async () => {
    const script = "const { Mount } = require('ipcfs'); new Mount().mailbox('ends', { create: true }).then(async (box) => {"
        + "await box.receive({ timeout: 10 }).catch(() => {}); await box.remove(); })";
    const child = spawn(process.execPath, ['-e', script], { stdio: 'inherit' });
    assert.equal(await new Promise((resolve) => { child.on('close', resolve); }), 0);
});

if (process.env.HAS_WORK) {
    inBox('done, again, and dead with the process', {}, async (box) => {
        await box.send('wash', { headers: { at: '60' } });
        await assert.rejects(box.work((message) => { throw new Error(message.text); }, { timeout: PATIENCE }), /wash/);
        assert.equal((await box.stat()).messages, 1);
        const script = `require('ipcfs'); const { Mount } = require('ipcfs'); new Mount().mailbox('${box.name}').then(async (box) => {`
            + ' await box.lease(); process.kill(process.pid, "SIGKILL"); })';
        const child = spawn(process.execPath, ['-e', script], { stdio: 'inherit' });
        await new Promise((resolve) => { child.on('close', resolve); });
        const seen = await box.work(async (message) => [message.text, message.attempts, message.headers, (await box.stat()).leased], { timeout: PATIENCE });
        assert.deepEqual(seen, ['wash', 2, { at: '60' }, 1]);
        assert.deepEqual([(await box.stat()).messages, (await box.stat()).leased], [0, 0]);
    });
}

if (process.env.HAS_TOPIC) {
    test('topics', async () => {
        const news = await mount.topic('node', { create: true });
        const stream = await news.subscribe();
        const me = await news.subscription('me', { create: true });
        for (let i = 0; i < 3; i++)
            await news.publish(String(i), { headers: { n: String(i) } });
        for (let i = 0; i < 3; i++) {
            const message = await stream.receive();
            assert.deepEqual([message.text, message.headers], [String(i), { n: String(i) }]);
            assert.equal((await me.receive({ timeout: PATIENCE })).text, String(i));
        }
        await stream.close();
        await me.remove();
        await news.remove();
    });
}
