/** Where waiting ends: after `timeout` milliseconds (an error of code ETIMEDOUT), or by the signal (its reason). */
export interface Waiting {
    timeout?: number;
    signal?: AbortSignal;
}

export interface Sending extends Waiting {
    /** 0 to 31, highest first. */
    priority?: number;
    /** The sender's own words: names of a-z, 0-9 and -, 4 KiB in all. */
    headers?: Record<string, string>;
}

export interface Creating {
    /** Makes it, where it is not there yet. */
    create?: boolean;
    /** Permission bits: 0o711 lets everybody send. */
    mode?: number;
    settings?: Record<string, string | number>;
}

/** Bytes as they are, text as UTF-8. */
export type Data = string | Uint8Array;

/** What was received: its bytes, and who sent it when. pid, uid and gid are the kernel's word, headers the sender's. */
export class Message {
    readonly data: Buffer;
    readonly text: string;
    readonly id: bigint;
    readonly priority: number;
    readonly uid: number;
    readonly gid: number;
    readonly pid: number;
    readonly time: Date;
    readonly headers: Record<string, string>;
    /** How often it was taken on lease and came back. */
    readonly attempts: number;
    /** Its sender waits for an answer. */
    readonly isCall: boolean;
    /** How many of a topic's messages were dropped before this one. */
    readonly missed: number;
}

declare class Thing {
    readonly path: string;
    readonly name: string;
    config(): Promise<Record<string, string | number>>;
    stat(): Promise<Record<string, string | number>>;
    /** All that are given, or none. */
    configure(settings: Record<string, string | number>): Promise<void>;
    /** Closes what it has open. It may be used again. */
    close(): Promise<void>;
    /** Whoever waits there is told (EIDRM). Messages that wait keep it (ENOTEMPTY). */
    remove(): Promise<void>;
}

/** A message that is being worked on. */
export class Lease {
    readonly message: Message;
    /** It is gone for good. */
    done(): Promise<void>;
    /** It returns to the place it had. */
    again(): Promise<void>;
    /** It goes to the mailbox that `dead` in config names. */
    dead(): Promise<void>;
}

export class Queue extends Thing implements AsyncIterable<Message> {
    /** Takes the next message, and waits for it. What is aborted or timed out has taken nothing. */
    receive(options?: Waiting): Promise<Message>;
    /** The same without the envelope. */
    receiveBytes(options?: Waiting): Promise<Buffer>;
    /** Takes a message that is nobody else's until it is settled, or this process dies: then it is `again`. */
    lease(options?: Waiting): Promise<Lease>;
    /** Works on a message: done when the promise is kept, again when it is not. */
    work<T>(handle: (message: Message) => T | Promise<T>, options?: Waiting): Promise<T>;
    /** Answers a message whose isCall is true. ENOENT, EPIPE: who asked has gone. */
    reply(message: Message, data: Data): Promise<void>;
    /** Message after message, until the mailbox is removed. */
    [Symbol.asyncIterator](): AsyncGenerator<Message>;
}

export class Mailbox extends Queue {
    /** One message. Where the mailbox is full it waits for room. */
    send(data: Data, options?: Sending): Promise<void>;
    /** Asks, and waits for the answer. */
    call(data: Data, options?: Waiting): Promise<Buffer>;
}

/** A subscription for as long as it is open. */
export class Stream implements AsyncIterable<Message> {
    receive(): Promise<Message>;
    close(): Promise<void>;
    [Symbol.asyncIterator](): AsyncGenerator<Message>;
}

export class Topic extends Thing {
    publish(data: Data, options?: Sending): Promise<void>;
    /** From this moment, until it is closed. */
    subscribe(): Promise<Stream>;
    /** One that stays, with or without its subscriber. */
    subscription(name: string, options?: Creating): Promise<Queue>;
}

/** A ring by its files, as the shell has it: Node can't map memory. */
export class Ring extends Thing {
    produce(data: Data, options?: Waiting): Promise<void>;
    consume(options?: Waiting): Promise<Buffer>;
}

/** An ipcfs mount: at `path`; or where the working directory is, or $IPCFS_MOUNT, or the only one. */
export class Mount {
    constructor(path?: string);
    readonly path: string;
    mailbox(name: string, options?: Creating): Promise<Mailbox>;
    topic(name: string, options?: Creating): Promise<Topic>;
    ring(name: string, options?: Creating): Promise<Ring>;
    /** The mailbox that every process has; this one's without a pid. */
    process(pid?: number): Mailbox;
}
