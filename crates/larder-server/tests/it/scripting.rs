//! Scripts in Lua. The replies are those of redis-server 7.0.15.

use std::time::Duration;

use crate::client::{TestServer, check};

#[test]
fn a_script_returns_values_as_replies() {
    check(&[
        ("EVAL \"return 1\" 0", ":1"),
        ("EVAL \"return 3.99\" 0", ":3"),
        ("EVAL \"return -3.99\" 0", ":-3"),
        ("EVAL \"return 'text'\" 0", "\"text\""),
        ("EVAL \"return true\" 0", ":1"),
        ("EVAL \"return false\" 0", "nil"),
        ("EVAL \"return nil\" 0", "nil"),
        ("EVAL \"return\" 0", "nil"),
        ("EVAL \"return {1, 2, 'three', {4}}\" 0", "[:1 :2 \"three\" [:4]]"),
        ("EVAL \"return {1, 2, nil, 4}\" 0", "[:1 :2]"),
        ("EVAL \"return {}\" 0", "[]"),
        ("EVAL \"return {ok='fine'}\" 0", "+fine"),
        ("EVAL \"return {err='My error'}\" 0", "-My error"),
        ("EVAL \"return {err='NOCODE'}\" 0", "-NOCODE"),
        ("EVAL \"return {double=1.5}\" 0", "\"1.5\""),
        (
            "EVAL \"return {big_number='123456789012345678901234567890'}\" 0",
            "\"123456789012345678901234567890\"",
        ),
        ("EVAL \"return {verbatim_string={format='txt', string='hello'}}\" 0", "\"hello\""),
        ("EVAL \"return {map={a=1}}\" 0", "[\"a\" :1]"),
        ("EVAL \"return {set={a=true}}\" 0", "[\"a\"]"),
        (
            "EVAL \"return {KEYS[1], KEYS[2], ARGV[1], ARGV[2]}\" 2 k1 k2 a1 a2",
            "[\"k1\" \"k2\" \"a1\" \"a2\"]",
        ),
        ("EVAL \"return {#KEYS, #ARGV}\" 1 k a b c", "[:1 :3]"),
        ("EVAL \"return redis.status_reply('FINE')\" 0", "+FINE"),
        ("EVAL \"return redis.error_reply('MY_ERR custom msg')\" 0", "-MY_ERR custom msg"),
        ("EVAL \"return redis.error_reply('-MY_ERR custom msg')\" 0", "-MY_ERR custom msg"),
        ("EVAL \"return redis.error_reply('one')\" 0", "-ERR one"),
        ("EVAL \"return redis.error_reply('')\" 0", "-ERR "),
        ("EVAL \"return redis.error_reply('a', 'b')\" 0", "-ERR wrong number or type of arguments"),
        ("EVAL \"return redis.status_reply(1)\" 0", "-ERR wrong number or type of arguments"),
        ("EVAL \"return function() end\" 0", "nil"),
        ("EVAL \"return {f = 1, 'array'}\" 0", "[\"array\"]"),
        ("EVAL \"return 'a\\\\0b'\" 0", "\"a\\x00b\""),
    ]);
}

#[test]
fn replies_become_values_of_the_script() {
    check(&[
        ("EVAL \"return redis.call('SET', KEYS[1], ARGV[1])\" 1 a 1", "+OK"),
        ("EVAL \"return redis.call('GET', KEYS[1])\" 1 a", "\"1\""),
        ("EVAL \"return redis.call('GET', 'missing') == false\" 0", ":1"),
        ("EVAL \"return type(redis.call('INCR', 'n'))\" 0", "\"number\""),
        ("EVAL \"return redis.call('INCRBY', 'n', 41) + 1\" 0", ":43"),
        ("EVAL \"return redis.call('SET', 'a', 'x').ok\" 0", "\"OK\""),
        ("EVAL \"return redis.call('MGET', 'a', 'missing')[1]\" 0", "\"x\""),
        ("EVAL \"return redis.call('MGET', 'a', 'missing')\" 0", "[\"x\" nil]"),
        ("EVAL \"return redis.call('MGET', 'missing')[1] == false\" 0", ":1"),
        ("EVAL \"return redis.call('HGETALL', 'h')\" 0", "[]"),
        (
            "EVAL \"redis.call('HSET', 'h', 'f', 'v') return redis.call('HGETALL', 'h')\" 0",
            "[\"f\" \"v\"]",
        ),
        ("EVAL \"redis.call('SET', 'd', 1.5) return redis.call('GET', 'd')\" 0", "\"1.5\""),
        ("EVAL \"redis.call('SET', 'd', 3) return redis.call('GET', 'd')\" 0", "\"3\""),
        (
            "EVAL \"redis.call('SET', 'd', 0.1) return redis.call('GET', 'd')\" 0",
            "\"0.10000000000000001\"",
        ),
        ("EVAL \"redis.call('SET', 'd', 1e100) return redis.call('GET', 'd')\" 0", "\"1e+100\""),
        (
            "EVAL \"redis.call('SET', 'd', 123456789012) return redis.call('GET', 'd')\" 0",
            "\"123456789012\"",
        ),
        (
            "EVAL \"redis.call('SET', 'd', 1e16) return redis.call('GET', 'd')\" 0",
            "\"10000000000000000\"",
        ),
        ("EVAL \"redis.call('SET', 'd', 1e17) return redis.call('GET', 'd')\" 0", "\"1e+17\""),
        (
            "EVAL \"redis.call('SET', 'd', 2^53) return redis.call('GET', 'd')\" 0",
            "\"9007199254740992\"",
        ),
        (
            "EVAL \"redis.call('SET', 'd', -0.00001) return redis.call('GET', 'd')\" 0",
            "\"-1.0000000000000001e-05\"",
        ),
        ("EVAL \"return redis.call('PING')\" 0", "+PONG"),
        ("EVAL \"return redis.call('ECHO', 'x')\" 0", "\"x\""),
        ("EVAL \"redis.call('SELECT', 3) redis.call('SET', 'other', 'x')\" 0", "nil"),
        ("GET other", "nil"),
        ("EVAL \"redis.setresp(3) return redis.call('HGETALL', 'h')\" 0", "[\"f\" \"v\"]"),
        ("EVAL \"redis.setresp(3) return type(redis.call('HGETALL', 'h').map)\" 0", "\"table\""),
        ("EVAL \"redis.setresp(3) return redis.call('GET', 'missing') == nil\" 0", ":1"),
        ("EVAL \"redis.setresp(3) return true\" 0", ":1"),
        ("EVAL \"return redis.call('GET', 'missing') == false\" 0", ":1"),
    ]);
}

#[test]
fn errors_of_commands_end_a_script_or_are_caught() {
    check(&[
        ("SET s text", "+OK"),
        (
            "EVAL \"return redis.pcall('HGET', 's', 'f')\" 0",
            "-WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        (
            "EVAL \"return redis.pcall('HGET', 's', 'f').err\" 0",
            "\"WRONGTYPE Operation against a key holding the wrong kind of value\"",
        ),
        (
            "EVAL \"local ok, err = pcall(redis.call, 'HGET', 's', 'f') return {ok, type(err), err}\" 0",
            "[nil \"string\" \"WRONGTYPE Operation against a key holding the wrong kind of value\"]",
        ),
        (
            "EVAL \"local ok, err = pcall(redis.pcall, 'INCR', 's') return {ok, type(err), err.err}\" 0",
            "[:1 \"table\" \"ERR value is not an integer or out of range\"]",
        ),
        (
            "EVAL \"return redis.pcall('NOSUCH').err\" 0",
            "\"ERR Unknown Redis command called from script\"",
        ),
        (
            "EVAL \"return redis.pcall('GET').err\" 0",
            "\"ERR Wrong number of args calling Redis command from script\"",
        ),
        (
            "EVAL \"return redis.pcall('GET', 'a', 'b').err\" 0",
            "\"ERR Wrong number of args calling Redis command from script\"",
        ),
        (
            "EVAL \"return redis.pcall().err\" 0",
            "\"ERR Please specify at least one argument for this redis lib call\"",
        ),
        (
            "EVAL \"return redis.pcall('SET', 'a', {}).err\" 0",
            "\"ERR Lua redis lib command arguments must be strings or integers\"",
        ),
        (
            "EVAL \"return redis.pcall('SET', 'a', true).err\" 0",
            "\"ERR Lua redis lib command arguments must be strings or integers\"",
        ),
        (
            "EVAL \"return redis.pcall('SET', 'a', nil).err\" 0",
            "\"ERR Lua redis lib command arguments must be strings or integers\"",
        ),
        (
            "EVAL \"return redis.pcall('EVAL', 'return 1', 0).err\" 0",
            "\"ERR This Redis command is not allowed from script\"",
        ),
        (
            "EVAL \"return redis.pcall('SCRIPT', 'FLUSH').err\" 0",
            "\"ERR This Redis command is not allowed from script\"",
        ),
        (
            "EVAL \"return redis.pcall('HELLO', 3).err\" 0",
            "\"ERR This Redis command is not allowed from script\"",
        ),
        (
            "EVAL \"local t = {} local ok, err = pcall(error, t) return {ok, err == t}\" 0",
            "[nil :1]",
        ),
        ("EVAL \"local ok, err = pcall(error, 'x') return err\" 0", "\"x\""),
        ("EVAL \"local ok, err = pcall(error, {err='y', z=1}) return err\" 0", "\"y\""),
        (
            "EVAL \"local ok, err = xpcall(function() error('x', 0) end, function(e) return 'handled ' .. e end) return err\" 0",
            "\"handled x\"",
        ),
    ]);
}

#[test]
fn errors_name_the_script_and_the_line() {
    check(&[
        ("EVAL \"return redis.call('INCR', 's')\" 0", ":1"),
        ("SET s text", "+OK"),
        (
            "EVAL \"return redis.call('INCR', 's')\" 0",
            "-ERR value is not an integer or out of range script: d1b09bc784618b1d9d99484b977bf1da6b624445, on @user_script:1.",
        ),
        (
            "EVAL \"\\n\\nreturn redis.call('INCR', 's')\" 0",
            "-ERR value is not an integer or out of range script: 4134b41aef14f98af6c7dd6e1583059bc518deb2, on @user_script:3.",
        ),
        (
            "EVAL \"error('mine')\" 0",
            "-ERR user_script:1: mine script: b62fa57e7d207a642ae678ed8b6de4192b2a00fb, on @user_script:1.",
        ),
        (
            "EVAL \"error({err='CODE mine'})\" 0",
            "-CODE mine script: 60570f1d1029cced8dd166d011e844544d006ea3, on @user_script:1.",
        ),
        (
            "EVAL \"return nosuch\" 0",
            "-ERR user_script:1: Script attempted to access nonexistent global variable 'nosuch' script: 100e7d6e08587ed416717dc6d703eca312809a20, on @user_script:1.",
        ),
        (
            "EVAL \"nosuch = 1\" 0",
            "-ERR user_script:1: Attempt to modify a readonly table script: 3929005fb96fc8c4ad4532cc319573a093537339, on @user_script:1.",
        ),
        (
            "EVAL \"local t = nil return t.x\" 0",
            "-ERR user_script:1: attempt to index local 't' (a nil value) script: 9b254dbb503ee54eb16164b758132c072ed37366, on @user_script:1.",
        ),
        (
            "EVAL \"\\nlocal function f() error('deep') end\\n\\nf()\" 0",
            "-ERR user_script:2: deep script: c5c77ce2fe46a0ddaf8a585b0c3fee847bf59024, on @user_script:2.",
        ),
        (
            "EVAL \"return {1\" 0",
            "-ERR Error compiling script (new function): user_script:1: '}' expected near '<eof>'",
        ),
        (
            "EVAL \"return redis.nosuch()\" 0",
            "-ERR user_script:1: attempt to call field 'nosuch' (a nil value) script: 064c0d38ec6d45fb37cd950fd37e609359986738, on @user_script:1.",
        ),
        (
            "EVAL \"redis.call = 1\" 0",
            "-ERR user_script:1: Attempt to modify a readonly table script: 69f883616b1814e2dc95cf801f324e38c5cc5ed2, on @user_script:1.",
        ),
        (
            "EVAL \"string.x = 1\" 0",
            "-ERR user_script:1: Attempt to modify a readonly table script: c3eb0a2a15b3d4790b323c4104029c1ae425a769, on @user_script:1.",
        ),
        (
            "EVAL \"redis.call('SET', 'a')\" 0",
            "-ERR Wrong number of args calling Redis command from script script: dcbf6f66c50177aefa786be04ec65b8d813e885d, on @user_script:1.",
        ),
        (
            "EVAL \"redis.call()\" 0",
            "-ERR Please specify at least one argument for this redis lib call script: 23251039f40992dadef496cbfe3f3d23a6d314ce, on @user_script:1.",
        ),
        (
            "EVAL \"redis.setresp(4)\" 0",
            "-ERR RESP version must be 2 or 3. script: 68e72e4d8a428b9f599dce492315f2455a425a82, on @user_script:1.",
        ),
        (
            "EVAL \"redis.log(9, 'x')\" 0",
            "-ERR Invalid debug level. script: 33c5adda35db23aef2d79cdf8ec88f4a6e44b5f3, on @user_script:1.",
        ),
        (
            "EVAL \"redis.log('x')\" 0",
            "-ERR redis.log() requires two arguments or more. script: 4365d697bcf18447f1a1b2cbfc70a188fabcdcff, on @user_script:1.",
        ),
    ]);
}

#[test]
fn keys_are_counted() {
    check(&[
        ("SCRIPT FLUSH", "+OK"),
        ("EVAL \"return 1\"", "-ERR wrong number of arguments for 'eval' command"),
        ("EVAL \"return 1\" x", "-ERR value is not an integer or out of range"),
        ("EVAL \"return 1\" -1", "-ERR Number of keys can't be negative"),
        ("EVAL \"return 1\" 1", "-ERR Number of keys can't be greater than number of args"),
        ("EVAL \"return 1\" 2 a", "-ERR Number of keys can't be greater than number of args"),
        (
            "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0",
            "-NOSCRIPT No matching script. Please use EVAL.",
        ),
        ("SCRIPT LOAD \"return 1\"", "\"e0e1f9fabfc9d4800c877a703b823ac0578ff8db\""),
        ("EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0", ":1"),
        ("EVALSHA E0E1F9FABFC9D4800C877A703B823AC0578FF8DB 0", ":1"),
        (
            "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db -1",
            "-ERR Number of keys can't be negative",
        ),
        ("EVALSHA x 0", "-NOSCRIPT No matching script. Please use EVAL."),
        ("EVALSHA_RO e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0", ":1"),
        (
            "SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db x E0E1F9FABFC9D4800C877A703B823AC0578FF8DB",
            "[:1 :0 :1]",
        ),
        ("SCRIPT FLUSH", "+OK"),
        ("SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "[:0]"),
        (
            "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0",
            "-NOSCRIPT No matching script. Please use EVAL.",
        ),
        ("EVAL \"return 1\" 0", ":1"),
        ("EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0", ":1"),
        ("SCRIPT FLUSH ASYNC", "+OK"),
        ("SCRIPT FLUSH SYNC", "+OK"),
        ("SCRIPT FLUSH NOW", "-ERR SCRIPT FLUSH only support SYNC|ASYNC option"),
        (
            "SCRIPT LOAD \"return (\"",
            "-ERR Error compiling script (new function): user_script:1: unexpected symbol near '<eof>'",
        ),
        ("SCRIPT KILL", "-NOTBUSY No scripts in execution right now."),
        ("SCRIPT NOSUCH", "-ERR unknown subcommand 'NOSUCH'. Try SCRIPT HELP."),
        ("SCRIPT", "-ERR wrong number of arguments for 'script' command"),
        ("FUNCTION FLUSH", "+OK"),
        ("FUNCTION FLUSH ASYNC", "+OK"),
        ("FUNCTION LIST", "[]"),
    ]);
}

#[test]
fn scripts_that_change_nothing_cannot() {
    check(&[
        ("EVAL_RO \"return redis.call('GET', 'a')\" 0", "nil"),
        (
            "EVAL_RO \"return redis.call('SET', 'a', 1)\" 0",
            "-ERR Write commands are not allowed from read-only scripts. script: 920a07f443019e7350f07db671ce6a75fcc99e2c, on @user_script:1.",
        ),
        (
            "EVAL_RO \"return redis.pcall('SET', 'a', 1).err\" 0",
            "\"ERR Write commands are not allowed from read-only scripts.\"",
        ),
        (
            "EVAL \"#!lua flags=no-writes\\nreturn redis.call('SET', 'a', 1)\" 0",
            "-ERR Write commands are not allowed from read-only scripts. script: efca084ec6aefd89ce87ab29cc15467739423802, on @user_script:2.",
        ),
        ("EVAL \"#!lua flags=no-writes\\nreturn redis.call('GET', 'a')\" 0", "nil"),
        ("EVAL \"#!lua\\nreturn redis.call('SET', 'a', 1)\" 0", "+OK"),
        ("EVAL \"#!lua flags=allow-oom,no-cluster\\nreturn redis.call('SET', 'a', 1)\" 0", "+OK"),
        ("EVAL \"#!lua flags=bad\\nreturn 1\" 0", "-ERR Unexpected flag in script shebang: bad"),
        ("EVAL \"#!python\\nreturn 1\" 0", "-ERR Unexpected engine in script shebang: #!python"),
        ("EVAL \"#!lua other\\nreturn 1\" 0", "-ERR Unknown lua shebang option: other"),
        ("EVAL \"#!lua\" 0", "-ERR Invalid script shebang"),
        (
            "EVAL \"#!lua\\nerror('line two')\" 0",
            "-ERR user_script:2: line two script: 326d6fc9c3337f2180cd1ef5443419cfa63325d1, on @user_script:2.",
        ),
    ]);
}

#[test]
fn there_is_nothing_of_the_system() {
    check(&[
        (
            "EVAL \"return {type(rawget(_G, 'os')), type(rawget(_G, 'io')), type(rawget(_G, 'require')), type(rawget(_G, 'dofile')), type(rawget(_G, 'loadfile')), type(rawget(_G, 'print')), type(rawget(_G, 'debug')), type(rawget(_G, 'package'))}\" 0",
            "[\"nil\" \"nil\" \"nil\" \"nil\" \"nil\" \"nil\" \"nil\" \"nil\"]",
        ),
        (
            "EVAL \"return os.time()\" 0",
            "-ERR user_script:1: Script attempted to access nonexistent global variable 'os' script: 13dea82ee9da896aebcd10f5e36f4a1eeb839b48, on @user_script:1.",
        ),
        (
            "EVAL \"return io\" 0",
            "-ERR user_script:1: Script attempted to access nonexistent global variable 'io' script: badfe324d30f60abd2dbecf4d4b0f915038384e2, on @user_script:1.",
        ),
        (
            "EVAL \"return require('x')\" 0",
            "-ERR user_script:1: Script attempted to access nonexistent global variable 'require' script: bffdeb6e2d56eb24d259c153aa4333a8e1af434d, on @user_script:1.",
        ),
        (
            "EVAL \"return loadfile('x')\" 0",
            "-ERR user_script:1: Script attempted to access nonexistent global variable 'loadfile' script: bb2a8290a3426540824dc66417f907c980f1dd02, on @user_script:1.",
        ),
        (
            "EVAL \"return print(1)\" 0",
            "-ERR user_script:1: Script attempted to access nonexistent global variable 'print' script: e2b5f44f6bb44db9e9b15510b3e1d9ef6f199f4e, on @user_script:1.",
        ),
        ("EVAL \"return loadstring('return 1 + 1')()\" 0", ":2"),
        ("EVAL \"return {loadstring('return (')}\" 0", "[]"),
        ("EVAL \"return loadstring('return KEYS[1]')()\" 1 k", "\"k\""),
        ("EVAL \"return pcall(loadstring('return nosuch'))\" 0", "nil"),
        ("EVAL \"return (load(function() return nil end))()\" 0", "nil"),
        (
            "EVAL \"local parts = {'return ', '7'} local i = 0 return load(function() i = i + 1 return parts[i] end)()\" 0",
            ":7",
        ),
        ("EVAL \"return ('x'):rep(3)\" 0", "\"xxx\""),
        ("EVAL \"return ('%5.2f|%s'):format(1.234, 'y')\" 0", "\" 1.23|y\""),
        ("EVAL \"return string.upper('abc')\" 0", "\"ABC\""),
        (
            "EVAL \"return {math.max(1, 2), math.floor(2.5), #table.concat({'a', 'b'}, ', ')}\" 0",
            "[:2 :2 :4]",
        ),
        (
            "EVAL \"local c = coroutine.wrap(function() coroutine.yield(1) coroutine.yield(redis.call('ECHO', '2')) end) return {c(), c()}\" 0",
            "[:1 \"2\"]",
        ),
        (
            "EVAL \"local t = setmetatable({}, {__index = function(_, k) return k .. '!' end}) return t.x\" 0",
            "\"x!\"",
        ),
        (
            "EVAL \"return {tostring(nil), tonumber('0x10'), type({}), select('#', 1, 2), unpack({8, 9})}\" 0",
            "[\"nil\" :16 \"table\" :2 :8 :9]",
        ),
        ("EVAL \"return redis.sha1hex('')\" 0", "\"da39a3ee5e6b4b0d3255bfef95601890afd80709\""),
        (
            "EVAL \"return redis.sha1hex('Pizza & Mandolino')\" 0",
            "\"74822d82031af7493c20eefa13bd07ec4fada82f\"",
        ),
        (
            "EVAL \"return {redis.LOG_DEBUG, redis.LOG_VERBOSE, redis.LOG_NOTICE, redis.LOG_WARNING}\" 0",
            "[:0 :1 :2 :3]",
        ),
        ("EVAL \"redis.log(redis.LOG_NOTICE, 'x', 1) return redis.replicate_commands()\" 0", ":1"),
        ("EVAL \"return pcall(function() string.format = nil end)\" 0", "nil"),
        ("EVAL \"return pcall(setmetatable, redis, {})\" 0", "nil"),
        ("EVAL \"return pcall(rawset, string, 'x', 1)\" 0", "nil"),
        ("EVAL \"return pcall(setmetatable, _G, {})\" 0", "nil"),
        (
            "EVAL \"_G.x = 1\" 0",
            "-ERR user_script:1: Attempt to modify a readonly table script: e5cf4a26667af1721988fe8c9829d5cd2e26c62e, on @user_script:1.",
        ),
        (
            "EVAL \"rawset(_G, 'x', 1)\" 0",
            "-ERR Attempt to modify a readonly table script: e2c706419da183d6229a1230c3be09cc32cdeee0, on @user_script:1.",
        ),
        (
            "EVAL \"KEYS = {}\" 0",
            "-ERR user_script:1: Attempt to modify a readonly table script: 6f9c2135c385ef4406555ad3ccccb97d6af382cb, on @user_script:1.",
        ),
        ("EVAL \"KEYS[1] = 'other' return KEYS[1]\" 1 k", "\"other\""),
        ("EVAL \"return KEYS[1]\" 1 k", "\"k\""),
        ("EVAL \"return _G.KEYS[1] .. _VERSION\" 1 k", "\"kLua 5.1\""),
    ]);
}

#[test]
fn a_script_does_not_change_what_its_client_is_at() {
    let server = TestServer::start();
    let mut client = server.client();
    for command in [
        "MULTI",
        "EXEC",
        "DISCARD",
        "WATCH', 'a",
        "UNWATCH",
        "SUBSCRIBE', 'a",
        "QUIT",
        "RESET",
        "HELLO', '3",
        "AUTH', 'x",
        "CLIENT', 'ID",
        "EVAL', '', '0",
        "SCRIPT', 'FLUSH",
        "FUNCTION', 'FLUSH",
        "SAVE",
    ] {
        let script = format!("return redis.pcall('{command}').err");
        let reply = client.call(&["EVAL", &script, "0"]).to_string();
        assert_eq!(reply, "\"ERR This Redis command is not allowed from script\"", "{command}");
    }
    assert_eq!(client.run("PING"), "+PONG");
}

/// A server whose scripts have little time and memory.
fn strict_server() -> TestServer {
    TestServer::start_with(
        |builder| builder,
        |config| {
            config.script_time_limit = Duration::from_millis(100);
            config.max_script_memory_bytes = 8 << 20;
        },
    )
}

#[test]
fn a_script_that_does_not_end_is_ended() {
    let server = strict_server();
    let mut client = server.client();
    for endless in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "local function f() return f() end return f()",
        "repeat until pcall(error)",
        "while true do coroutine.wrap(function() while true do end end)() end",
        "while true do pcall(coroutine.wrap(function() while true do end end)) end",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "while true do redis.call('INCR', 'n') end",
        "while true do redis.pcall('NOSUCH') end",
        "return xpcall(function() while true do end end, function() while true do end end)",
        "return setmetatable({}, {__index = function(t, k) return t[k + 1] end})[1]",
        "local t = {} for i = 1, 1000 do t[i] = i end table.sort(t, function() while true do end end)",
        "('x'):rep(1000):gsub('x', function() while true do end end)",
        "load(function() return ' ' end)",
        "for _ in pairs(setmetatable({}, {__pairs = 1})) do end while true do end",
    ] {
        let reply = client.call(&["EVAL", endless, "0"]).to_string();
        let is_ended = reply.contains("ran for more than 100ms and was ended")
            || reply.contains("stack overflow")
            || reply.contains("more memory");
        assert!(reply.starts_with("-ERR") && is_ended, "{endless}: {reply}");
        // The interpreter is as good as new.
        assert_eq!(
            client.run("EVAL \"local n = 0 for i = 1, 100000 do n = n + 1 end return n\" 0"),
            ":100000"
        );
    }
    let server = TestServer::start();
    let mut client = server.client();
    assert!(client.run("CONFIG GET lua-time-limit").contains("5000"));
    assert_eq!(client.run("CONFIG SET lua-time-limit 50"), "+OK");
    let reply = client.run("EVAL \"while true do redis.call('INCR', 'n') end\" 0");
    assert!(reply.contains("ran for more than 50ms"), "{reply}");
    // What it did before stays.
    assert!(client.call(&["GET", "n"]).bytes().len() > 1);
}

#[test]
fn a_script_that_takes_too_much_memory_is_ended() {
    let server = strict_server();
    let mut client = server.client();
    for greedy in [
        "return ('x'):rep(1e9)",
        "local s = 'x' while true do s = s .. s end",
        "local t = {} while true do t[#t + 1] = ('x'):rep(10000) .. #t end",
        "local t = {} while true do t = {t} end",
        "local t = {} for i = 1, 1e9 do t[i] = {} end",
        "return table.concat({('x'):rep(5e6), ('y'):rep(5e6)})",
        "local t = {} while true do t[#t + 1] = coroutine.create(function() end) end",
    ] {
        let reply = client.call(&["EVAL", greedy, "0"]).to_string();
        let is_ended = reply.contains("more memory")
            || reply.contains("not enough memory")
            || reply.contains("ran for more");
        assert!(reply.starts_with("-ERR") && is_ended, "{greedy}: {reply}");
        assert_eq!(client.run("EVAL \"return ('x'):rep(100000):len()\" 0"), ":100000");
    }
    // Arguments and replies of commands count too.
    let long = "x".repeat(10 << 20);
    let reply = client.call(&["EVAL", "return #ARGV[1]", "0", &long]).to_string();
    assert!(reply.contains("more memory"), "{reply}");
    client.call(&["SET", "long", &long]);
    let reply = client.run("EVAL \"return redis.call('GET', 'long')\" 0");
    assert!(reply.starts_with("-ERR") && reply.contains("memory"), "{reply}");
    assert_eq!(
        client.run("EVAL \"return redis.call('STRLEN', 'long')\" 0"),
        format!(":{}", 10 << 20)
    );
}

#[test]
fn a_result_without_end_is_an_error() {
    let server = strict_server();
    let mut client = server.client();
    let wide = client.run("EVAL \"local t = {} t[1] = t t[2] = t return t\" 0");
    assert_eq!(wide, "-ERR the reply is longer than a request may be; ask for less at once");
    let deep = client.run("EVAL \"local t = {} t[1] = t return t\" 0");
    assert_eq!(deep, format!("{}-ERR reached lua stack limit{}", "[".repeat(200), "]".repeat(200)));
    let deep = client.run("EVAL \"local t = {} for i = 1, 1000 do t = {t} end return t\" 0");
    assert!(deep.contains("-ERR reached lua stack limit"));
    assert_eq!(client.run("EVAL \"return 1\" 0"), ":1");
}

#[test]
fn no_script_leaves_anything_to_another() {
    let server = strict_server();
    let mut client = server.client();
    for meddling in [
        "string.upper = nil",
        "rawset(string, 'upper', function() return 'x' end)",
        "rawset(redis, 'call', function() return 'x' end)",
        "rawset(_G, 'redis', {})",
        "redis.call = nil",
        "redis = nil",
        "_G = nil",
        "getmetatable('').__index = function() return 'x' end",
        "getmetatable('').__index.upper = function() return 'x' end",
        "getmetatable(_G).__index = {}",
        "getmetatable(string).__index.upper = nil",
        "setmetatable(_G, {})",
        "setmetatable(string, {})",
        "math.floor = nil",
        "table.concat = nil",
        "coroutine.yield = nil",
        "KEYS = 1",
        "leaked = 1",
        "(function() leaked = 1 end)()",
        "loadstring('leaked = 1')()",
        "getfenv(0).leaked = 1",
        "setfenv(0, {})",
        "debug.getregistry()",
        "newproxy()",
        "string.dump(function() end)",
    ] {
        let reply = client.call(&["EVAL", meddling, "0"]).to_string();
        assert!(reply.starts_with("-ERR"), "{meddling}: {reply}");
        let intact = "return {('a'):upper(), string.upper('b'), redis.call('ECHO', 'c'), math.floor(1.5), \
                      table.concat({'d'}), #KEYS, tostring(rawget(_G, 'leaked'))}";
        let reply = client.call(&["EVAL", intact, "0"]).to_string();
        assert_eq!(reply, "[\"A\" \"B\" \"c\" :1 \"d\" :0 \"nil\"]", "after {meddling}");
    }
}

#[test]
fn code_is_source_text_only() {
    let server = strict_server();
    let mut client = server.client();
    let bytecode = b"\x1bLua\x51\x00\x01\x04\x08\x04\x08\x00";
    let reply = client.call(&[&b"EVAL"[..], bytecode, b"0"]).to_string();
    assert!(reply.starts_with("-ERR Error compiling script"), "{reply}");
    let reply = client.call(&[&b"SCRIPT"[..], b"LOAD", bytecode]).to_string();
    assert!(reply.starts_with("-ERR Error compiling script"), "{reply}");
    for load in [
        "return {loadstring(ARGV[1])}",
        "local n return {load(function() n = not n return n and ARGV[1] or nil end)}",
    ] {
        let reply = client.call(&[&b"EVAL"[..], load.as_bytes(), b"0", bytecode]).to_string();
        assert_eq!(reply, "[]", "nil and an error: {load}");
    }
}

#[test]
fn a_script_is_one_step_for_other_clients() {
    let server = TestServer::start_with(|builder| builder, |config| config.threads = 4);
    let script = "local a = redis.call('GET', 'a') or '0' \
                  local b = redis.call('GET', 'b') or '0' \
                  if a ~= b then return redis.error_reply('TORN ' .. a .. ' ' .. b) end \
                  redis.call('SET', 'a', a + 1) \
                  redis.call('SET', 'b', b + 1) \
                  return redis.status_reply('OK')";
    let digest = server.client().call(&["SCRIPT", "LOAD", script]);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (server, digest) = (&server, &digest);
            scope.spawn(move || {
                let mut client = server.client();
                for _ in 0..100 {
                    if number % 2 == 0 {
                        let done = client.call(&[b"EVALSHA", digest.bytes(), b"2", b"a", b"b"]);
                        assert_eq!(done.to_string(), "+OK");
                    } else {
                        let seen = client.call(&["MGET", "a", "b"]);
                        assert_eq!(seen.members()[0], seen.members()[1]);
                    }
                }
            });
        }
    });
    assert_eq!(server.client().run("MGET a b"), "[\"400\" \"400\"]");
}

#[test]
fn results_have_the_form_of_the_version_that_the_client_chose() {
    let server = TestServer::start();
    let mut client = server.client();
    client.run("HELLO 3");
    client.run("HSET h f v");
    for (script, reply) in [
        ("return redis.call('HGETALL', 'h')", "[\"f\" \"v\"]"),
        ("redis.setresp(3) return redis.call('HGETALL', 'h')", "{\"f\" => \"v\"}"),
        ("redis.setresp(3) return true", "#t"),
        ("redis.setresp(3) return false", "#f"),
        ("return true", ":1"),
        ("return false", "nil"),
        ("return {double=1.5}", ",1.5"),
        ("return {big_number='123'}", "(123"),
        ("return {verbatim_string={format='txt', string='hello'}}", "=hello"),
        ("return {set={a=true}}", "~[\"a\"]"),
        ("return {map={a={1}}}", "{\"a\" => [:1]}"),
    ] {
        assert_eq!(client.call(&["EVAL", script, "0"]).to_string(), reply, "{script}");
    }
}

/// The script of redis-py's and django-redis's locks, and one as ioredis sends it.
#[test]
fn the_scripts_of_locks_work() {
    let server = TestServer::start();
    let mut client = server.client();
    let release = "local token = redis.call('get', KEYS[1])
        if not token or token ~= ARGV[1] then
            return 0
        end
        redis.call('del', KEYS[1])
        return 1";
    let compare_and_set = "if redis.call(\"get\", KEYS[1]) == ARGV[1] then \
        return redis.call(\"set\", KEYS[1], ARGV[2], 'px', ARGV[3]) else return nil end";
    assert_eq!(client.run("SET lock mine NX PX 10000"), "+OK");
    assert_eq!(
        client.call(&["EVAL", compare_and_set, "1", "lock", "other", "x", "5000"]).to_string(),
        "nil"
    );
    assert_eq!(
        client.call(&["EVAL", compare_and_set, "1", "lock", "mine", "mine", "99000"]).to_string(),
        "+OK"
    );
    assert!(server.time_to_live("lock").unwrap() > Duration::from_secs(60));
    let digest = client.call(&["SCRIPT", "LOAD", release]);
    let mut release =
        |token: &[u8]| client.call(&[b"EVALSHA", digest.bytes(), b"1", b"lock", token]).integer();
    assert_eq!([release(b"other"), release(b"mine"), release(b"mine")], [0, 1, 0]);
}

#[test]
fn keys_that_a_script_reads_are_tracked_for_its_client() {
    let server = TestServer::start();
    let (mut reader, mut writer) = (server.client(), server.client());
    reader.run("HELLO 3");
    assert_eq!(reader.run("CLIENT TRACKING ON"), "+OK");
    assert_eq!(reader.run("EVAL \"return redis.call('GET', KEYS[1])\" 1 a"), "nil");
    assert_eq!(writer.run("EVAL \"return redis.call('SET', KEYS[1], '1')\" 1 a"), "+OK");
    assert_eq!(reader.push().to_string(), ">[\"invalidate\" [\"a\"]]");
}
