//! The arguments of commands, as they are shown to people who type them.
//!
//! A usage is a list of arguments with blanks between them: `key` is required, `[key]` is not, and `key...`
//! may be repeated. What is within brackets may have blanks of its own.
#![forbid(unsafe_code)]

/// One argument of a usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Argument<'u> {
    pub(crate) name: &'u str,
    pub(crate) is_optional: bool,
    pub(crate) is_repeated: bool,
}

/// The arguments of the command of this name, in lower case.
pub(crate) fn arguments(command: &str) -> impl Iterator<Item = Argument<'static>> {
    let mut rest = usage(command);
    std::iter::from_fn(move || {
        let (argument, after) = next_argument(rest)?;
        rest = after;
        Some(argument)
    })
}

/// The first argument of a usage, and what follows it.
fn next_argument(usage: &str) -> Option<(Argument<'_>, &str)> {
    let usage = usage.trim_start();
    let mut depth = 0;
    let end = usage.find(|letter| {
        depth += i32::from(letter == '[') - i32::from(letter == ']');
        letter == ' ' && depth == 0
    });
    let (word, rest) = usage.split_at(end.unwrap_or(usage.len()));
    let (word, is_repeated) = word.strip_suffix("...").map_or((word, false), |word| (word, true));
    let inner = word.strip_prefix('[').and_then(|word| word.strip_suffix(']'));
    let name = inner.unwrap_or(word);
    (!name.is_empty())
        .then_some((Argument { name, is_optional: inner.is_some(), is_repeated }, rest))
}

#[rustfmt::skip] // One line for each usage, or it would be three pages.
fn usage(command: &str) -> &'static str {
    match command {
        "append" | "getset" | "setnx" => "key value",
        "auth" => "[username] password",
        "bgsave" => "[SCHEDULE]",
        "bitcount" => "key [start end [BYTE|BIT]]",
        "bitpos" => "key bit [start [end [BYTE|BIT]]]",
        "copy" => "source destination [DB database] [REPLACE]",
        "decr" | "expiretime" | "get" | "getdel" | "hgetall" | "hkeys" | "hlen" | "hvals" | "incr"
        | "larder.explain" | "larder.tags" | "persist" | "pexpiretime" | "pttl" | "strlen" | "ttl" | "type" => "key",
        "decrby" => "key decrement",
        "del" | "exists" | "mget" | "touch" | "unlink" | "watch" => "key...",
        "echo" => "message",
        "eval" | "eval_ro" => "script numkeys [key]... [arg]...",
        "evalsha" | "evalsha_ro" => "sha1 numkeys [key]... [arg]...",
        "expire" => "key seconds [NX|XX|GT|LT]",
        "expireat" => "key unix-time-seconds [NX|XX|GT|LT]",
        "flushall" | "flushdb" => "[ASYNC|SYNC]",
        "getbit" => "key offset",
        "getex" => "key [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|PERSIST]",
        "getrange" | "substr" => "key start end",
        "hdel" | "hmget" => "key field...",
        "hello" => "[protover [AUTH username password] [SETNAME clientname]]",
        "hexists" | "hget" | "hstrlen" => "key field",
        "hincrby" | "hincrbyfloat" => "key field increment",
        "hmset" | "hset" => "key field value [field value]...",
        "hscan" => "key cursor [MATCH pattern] [COUNT count] [NOVALUES]",
        "hsetnx" => "key field value",
        "incrby" | "incrbyfloat" => "key increment",
        "info" => "[section]...",
        "keys" => "pattern",
        "larder.hottest" => "[count]",
        "larder.invalidate" => "tag...",
        "larder.tag" => "key tag...",
        "lcs" => "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
        "lolwut" => "[VERSION version]",
        "move" => "key db",
        "mset" | "msetnx" => "key value [key value]...",
        "pexpire" => "key milliseconds [NX|XX|GT|LT]",
        "pexpireat" => "key unix-time-milliseconds [NX|XX|GT|LT]",
        "ping" => "[message]",
        "psetex" => "key milliseconds value",
        "psubscribe" => "pattern...",
        "publish" => "channel message",
        "punsubscribe" => "[pattern]...",
        "rename" | "renamenx" => "key newkey",
        "scan" => "cursor [MATCH pattern] [COUNT count] [TYPE type]",
        "select" => "index",
        "set" => "key value [NX|XX] [GET] [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|KEEPTTL]",
        "setbit" => "key offset value",
        "setex" => "key seconds value",
        "setrange" => "key offset value",
        "shutdown" => "[NOSAVE|SAVE] [NOW] [FORCE] [ABORT]",
        "spublish" => "shardchannel message",
        "ssubscribe" => "shardchannel...",
        "subscribe" => "channel...",
        "sunsubscribe" => "[shardchannel]...",
        "swapdb" => "index1 index2",
        "unsubscribe" => "[channel]...",
        // Their first argument is a subcommand, which has its own.
        "acl" | "client" | "cluster" | "config" | "function" | "latency" | "memory" | "object" | "pubsub" | "script"
        | "slowlog" => "subcommand [argument]...",
        "command" => "[subcommand [argument ...]]",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::COMMANDS;

    #[test]
    fn usage_has_as_many_arguments_as_its_command_needs() {
        for command in COMMANDS.iter() {
            let arguments: Vec<_> = arguments(command.name).collect();
            let required = arguments.iter().filter(|argument| !argument.is_optional).count();
            // The name of the command counts.
            let least = usize::from(command.arity.unsigned_abs()) - 1;
            assert_eq!(required, least, "{}: {arguments:?}", command.name);
            let takes_more = arguments.iter().any(|it| it.is_optional || it.is_repeated);
            assert!(command.arity < 0 || !takes_more, "{} takes no more arguments", command.name);
        }
    }

    #[test]
    fn brackets_and_dots_say_what_may_be_left_out_or_repeated() {
        let found: Vec<_> =
            arguments("mset").map(|it| (it.name, it.is_optional, it.is_repeated)).collect();
        let wanted = [("key", false, false), ("value", false, false), ("key value", true, true)];
        assert_eq!(found, wanted);
    }
}
