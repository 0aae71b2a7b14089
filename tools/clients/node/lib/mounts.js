'use strict';
// Where ipcfs is mounted, as ipcctl finds it.

const fs = require('fs');
const path = require('path');
const { makeError } = require('./errors');

const unescape = (text) => text.replace(/\\(\d{3})/g, (_, octal) => String.fromCharCode(parseInt(octal, 8)));

// The mount points of whole filesystems; one that is seen at two places is one.
function mounts() {
    const found = new Map();
    for (const line of fs.readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
        const [before, after] = line.split(' - ');
        const fields = before.split(' ');
        if (after && after.startsWith('fuse.ipcfs ') && fields[3] === '/' && !found.has(fields[2]))
            found.set(fields[2], unescape(fields[4]));
    }
    return [...found.values()];
}

function isUsable(mount) {
    try {
        return fs.statSync(path.join(mount, 'mbox')).isDirectory();
    } catch {
        return false;
    }
}

function find(given) {
    const here = `${process.cwd()}/`;
    const around = given ? [] : mounts().filter((mount) => here.startsWith(`${mount}/`)).sort((a, b) => b.length - a.length);
    let mount = given || around[0] || process.env.IPCFS_MOUNT;
    if (!mount) {
        const usable = mounts().filter(isUsable);
        if (usable.length > 1)
            throw makeError('ENOENT', usable.join(', '), `ipcfs is mounted ${usable.length} times: say which, or set IPCFS_MOUNT`);
        [mount] = usable;
        if (!mount)
            throw makeError('ENOENT', '/proc/self/mountinfo', 'ipcfs is not mounted; mount it (ipcfs DIRECTORY)');
    }
    mount = path.resolve(mount);
    if (!isUsable(mount))
        throw makeError('ENOENT', mount, 'there is no ipcfs');
    return mount;
}

module.exports = { find };
