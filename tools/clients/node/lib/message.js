'use strict';
// A message, as its envelope tells of it.

class Message {
    constructor(envelope, data) {
        const fields = JSON.parse(envelope);
        this.data = data || (fields.base64 === undefined ? Buffer.from(fields.text) : Buffer.from(fields.base64, 'base64'));
        // Longer than a number is exact.
        this.id = BigInt(/"id":(\d+)/.exec(envelope)[1]);
        this.priority = fields.prio;
        this.uid = fields.uid;
        this.gid = fields.gid;
        this.pid = fields.pid;
        this.time = new Date(fields.time.replace(/(\.\d{3})\d*/, '$1'));
        this.headers = fields.headers || {};
        this.attempts = fields.attempts || 0;
        this.isCall = fields.call === true;
        this.missed = fields.missed || 0;
    }

    get text() {
        return this.data.toString();
    }
}

const isUtf8 = (data) => Buffer.from(data.toString()).equals(data);

// A line for send.json.
function render(data, priority, headers) {
    const fields = isUtf8(data) ? { text: data.toString() } : { base64: data.toString('base64') };
    if (priority)
        fields.prio = priority;
    if (headers)
        fields.headers = headers;
    return Buffer.from(`${JSON.stringify(fields)}\n`);
}

module.exports = { Message, render };
