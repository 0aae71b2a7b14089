'use strict';
// What goes wrong has a code, as Node's own errors have.

const os = require('os');

const KINDS = {
    EIDRM: 'Removed', ENOBUFS: 'Full', EDQUOT: 'QuotaExceeded', ENOSPC: 'QuotaExceeded', EMSGSIZE: 'MessageTooLong',
    EFBIG: 'MessageTooLong', EBUSY: 'Busy', ECANCELED: 'Canceled', ETIMEDOUT: 'TimeoutError',
};

// Codes that Node has no name for: it says "Unknown system error -43".
const NUMBERS = { 43: 'EIDRM' };

function makeError(code, path, message) {
    const error = new Error(`${code}: ${message || code}, '${path}'`);
    return Object.assign(error, { name: KINDS[code] || 'Error', code, path, errno: -(os.constants.errno[code] || 43) });
}

// An error of fs, with its code and the name of its kind.
function told(error, path) {
    if (typeof error.errno !== 'number')
        return error;
    const code = NUMBERS[-error.errno] || error.code;
    if (KINDS[code])
        error.name = KINDS[code];
    return Object.assign(error, { code, path: error.path || path });
}

module.exports = { makeError, told };
