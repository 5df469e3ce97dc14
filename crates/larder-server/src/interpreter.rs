//! The interpreter of a thread: a state of Lua in which scripts cannot see each other's data.
#![forbid(unsafe_code)]

mod conversion;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mlua::chunk::ChunkMode;
use mlua::{
    Function, HookTriggers, Lua, LuaOptions, LuaString, MultiValue, StdLib, Table, Value, VmState,
};

use self::conversion::{ResultWriter, to_lua, with_17_digits};
use crate::error::CommandError;
use crate::identity::REDIS_VERSION;
use crate::resp::{Protocol, Reply};
use crate::scripts::ScriptDigest;
use crate::session::Session;
use crate::session::command::Flags;

/// After this many instructions, the interpreter checks the clock.
const INSTRUCTIONS_BETWEEN_CHECKS: u32 = 10_000;

/// How many compiled scripts a thread keeps.
const MAX_COMPILED: usize = 1024;

/// The file that errors name.
const CHUNK_NAME: &str = "@user_script";

thread_local! {
    /// Taken out while a script runs.
    static INTERPRETER: Cell<Option<Interpreter>> = const { Cell::new(None) };
}

/// A script to run, and with what.
pub(crate) struct Invocation<'i> {
    pub(crate) digest: ScriptDigest,
    pub(crate) source: &'i [u8],
    pub(crate) keys: &'i [&'i [u8]],
    pub(crate) arguments: &'i [&'i [u8]],
    /// Whether it may not change keys.
    pub(crate) is_read_only: bool,
}

/// Checks that a script can be compiled.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn compile(
    session: &Session,
    digest: ScriptDigest,
    source: &[u8],
) -> Result<(), CommandError> {
    with_interpreter(session, |interpreter| interpreter.compiled(digest, source).map(drop))
}

/// Runs a script and writes what it returns. The caller has excluded other commands.
///
/// # Errors
/// The error that ended the script. What it had changed before stays changed.
pub(crate) fn run(
    session: &mut Session,
    invocation: &Invocation<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let mut interpreter = take_interpreter(session)?;
    let database = session.database;
    let done = interpreter.run(session, invocation, reply);
    session.database = database;
    INTERPRETER.set(Some(interpreter));
    done
}

fn take_interpreter(session: &Session) -> Result<Interpreter, CommandError> {
    match INTERPRETER.take() {
        Some(interpreter) => Ok(interpreter),
        None => {
            let max_bytes = session.shared.config.max_script_memory_bytes;
            Ok(Interpreter::new(max_bytes)?)
        }
    }
}

fn with_interpreter<R>(
    session: &Session,
    f: impl FnOnce(&mut Interpreter) -> Result<R, CommandError>,
) -> Result<R, CommandError> {
    let mut interpreter = take_interpreter(session)?;
    let done = f(&mut interpreter);
    INTERPRETER.set(Some(interpreter));
    done
}

/// What the running script may still do, and what it has chosen.
struct Running {
    /// The function that executes a command for it.
    execute: RefCell<Option<Function>>,
    deadline: Cell<Option<Instant>>,
    is_over: Cell<bool>,
    protocol: Cell<Protocol>,
}

struct Interpreter {
    lua: Lua,
    globals: Table,
    /// The function that runs a script, of `sandbox.lua`.
    run: Function,
    compiled: HashMap<ScriptDigest, Function>,
    running: Rc<Running>,
    max_bytes: usize,
}

impl Interpreter {
    fn new(max_bytes: usize) -> mlua::Result<Self> {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH;
        let lua = Lua::new_with(libraries, LuaOptions::default())?;
        lua.set_memory_limit(max_bytes)?;
        let running = Rc::new(Running {
            execute: RefCell::new(None),
            deadline: Cell::new(None),
            is_over: Cell::new(false),
            protocol: Cell::new(Protocol::Resp2),
        });
        let host = host_functions(&lua, &running)?;
        let sandbox = lua.load(include_str!("interpreter/sandbox.lua")).set_name("=sandbox");
        let (globals, run) = sandbox.call((host,))?;
        Ok(Self { lua, globals, run, compiled: HashMap::new(), running, max_bytes })
    }

    fn compiled(&mut self, digest: ScriptDigest, source: &[u8]) -> Result<Function, CommandError> {
        if let Some(function) = self.compiled.get(&digest) {
            return Ok(function.clone());
        }
        let function = compiled(&self.lua, source, CHUNK_NAME, &self.globals).map_err(|error| {
            let text = first_line(&error);
            CommandError::other(format!("ERR Error compiling script (new function): {text}"))
        })?;
        if self.compiled.len() >= MAX_COMPILED {
            self.compiled.clear();
        }
        self.compiled.insert(digest, function.clone());
        Ok(function)
    }

    fn run(
        &mut self,
        session: &mut Session,
        invocation: &Invocation<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), CommandError> {
        let script = self.compiled(invocation.digest, invocation.source)?;
        let time_limit = Duration::from_millis(session.shared.settings().script_ms.get());
        self.begin(time_limit)?;
        let (lua, running) = (&self.lua, &self.running);
        let done = lua.scope(|scope| {
            let execute = scope.create_function_mut(|lua, args: MultiValue| {
                execute(lua, session, running, invocation.is_read_only, args)
            })?;
            let table = |values: &[&[u8]]| {
                let strings = values.iter().map(|value| lua.create_string(value));
                lua.create_sequence_from(strings.collect::<mlua::Result<Vec<_>>>()?)
            };
            let (keys, arguments) = (table(invocation.keys)?, table(invocation.arguments)?);
            running.execute.replace(Some(execute));
            self.run.call::<(bool, Value)>((script, keys, arguments))
        });
        running.execute.replace(None);
        running.deadline.set(None);
        let written = match done {
            _ if running.is_over.get() => Err(CommandError::other(format!(
                "ERR the script ran for more than {time_limit:?} and was ended; what it changed before stays \
                 changed"
            ))),
            Ok((true, result)) => {
                let max_bytes = reply.len().saturating_add(self.max_bytes);
                ResultWriter { reply, protocol: running.protocol.get(), max_bytes }.write(&result)
            }
            Ok((false, failure)) => Err(failure_of(&failure, invocation.digest)),
            Err(error) => Err(error.into()),
        };
        self.end();
        written
    }

    fn begin(&self, time_limit: Duration) -> mlua::Result<()> {
        let running = Rc::clone(&self.running);
        running.is_over.set(false);
        running.protocol.set(Protocol::Resp2);
        let deadline = Instant::now().checked_add(time_limit);
        running.deadline.set(deadline.filter(|_| !time_limit.is_zero()));
        let triggers = HookTriggers::new().every_nth_instruction(INSTRUCTIONS_BETWEEN_CHECKS);
        self.lua.set_global_hook(triggers, move |lua, _| {
            if running.deadline.get().is_none_or(|deadline| Instant::now() < deadline) {
                return Ok(VmState::Continue);
            }
            running.is_over.set(true);
            // From now on each instruction fails, so that a script that catches errors ends too.
            let always = HookTriggers::new().every_nth_instruction(1);
            lua.set_global_hook(always, |_, _| Err(time_is_over()))?;
            Err(time_is_over())
        })
    }

    fn end(&mut self) {
        if self.lua.used_memory() > self.max_bytes / 2 {
            self.compiled.clear();
            // Only a finalizer could fail, and there are none.
            let _ = self.lua.gc_collect();
        }
    }
}

fn time_is_over() -> mlua::Error {
    mlua::Error::runtime("the time of the script is over")
}

impl Running {
    fn execute(&self, args: MultiValue) -> mlua::Result<(Value, bool)> {
        let execute = self.execute.borrow().clone();
        let text = "redis.call/pcall can only be called inside a script invocation";
        execute.ok_or_else(|| mlua::Error::runtime(text))?.call(args)
    }
}

/// The text of an error that a function of ours has raised.
fn text_of(failure: &Value) -> String {
    let Value::Error(error) = failure else { return "ERR unknown error".to_owned() };
    match error.downcast_ref::<CommandError>() {
        Some(error) => error.to_string(),
        None => format!("ERR {}", first_line(error)),
    }
}

/// What the sandbox needs of us.
fn host_functions(lua: &Lua, running: &Rc<Running>) -> mlua::Result<Table> {
    let host = lua.create_table()?;
    let compile = |lua: &Lua, (text, name, globals): (LuaString, Option<LuaString>, Table)| {
        let name = name.map_or_else(|| text.to_string_lossy(), |name| name.to_string_lossy());
        Ok(match compiled(lua, &text.as_bytes(), &name, &globals) {
            Ok(function) => (Value::Function(function), None),
            Err(error) => (Value::Nil, Some(first_line(&error))),
        })
    };
    host.raw_set("compile", lua.create_function(compile)?)?;
    let executing = Rc::clone(running);
    let call = move |_: &Lua, args: MultiValue| {
        let (reply, has_failed) = executing.execute(args)?;
        match reply {
            Value::Table(failure) if has_failed => {
                let text: LuaString = failure.raw_get("err")?;
                Err(mlua::Error::external(CommandError::other(text.to_string_lossy())))
            }
            reply => Ok(reply),
        }
    };
    host.raw_set("call", lua.create_function(call)?)?;
    let executing = Rc::clone(running);
    let pcall = move |_: &Lua, args: MultiValue| Ok(executing.execute(args)?.0);
    host.raw_set("pcall", lua.create_function(pcall)?)?;
    let failure = |lua: &Lua, failure: Value| {
        let table = lua.create_table()?;
        table.raw_set("err", text_of(&failure))?;
        Ok(table)
    };
    host.raw_set("failure", lua.create_function(failure)?)?;
    let sha1hex =
        |lua: &Lua, text: LuaString| lua.create_string(ScriptDigest::of(&text.as_bytes()).as_str());
    host.raw_set("sha1hex", lua.create_function(sha1hex)?)?;
    let log = |_: &Lua, (level, text): (f64, LuaString)| {
        // Only warnings are worth a line of the server's output.
        if level >= 3.0 {
            eprintln!("script: {}", text.to_string_lossy().escape_debug());
        }
        Ok(())
    };
    host.raw_set("log", lua.create_function(log)?)?;
    host.raw_set("line", lua.create_function(|lua, ()| Ok(script_line(lua)))?)?;
    let running = Rc::clone(running);
    let set_protocol = move |_: &Lua, version: f64| {
        running.protocol.set(if version == 3.0 { Protocol::Resp3 } else { Protocol::Resp2 });
        Ok(())
    };
    host.raw_set("set_protocol", lua.create_function(set_protocol)?)?;
    host.raw_set("version", REDIS_VERSION)?;
    let number = REDIS_VERSION.split('.').filter_map(|part| part.parse::<u32>().ok());
    host.raw_set("version_number", number.fold(0, |number, part| (number << 8) | part))?;
    Ok(host)
}

/// Compiles source text; bytecode is refused, because a client's bytecode could do anything.
fn compiled(lua: &Lua, source: &[u8], name: &str, globals: &Table) -> mlua::Result<Function> {
    lua.load(source)
        .set_name(name)
        .set_mode(ChunkMode::Text)
        .set_environment(globals.clone())
        .into_function()
}

/// The line of the script that is executed, if any is.
fn script_line(lua: &Lua) -> Option<usize> {
    for level in 1..16 {
        let line = lua.inspect_stack(level, |debug| {
            let is_script = debug.source().source.is_some_and(|source| source == CHUNK_NAME);
            is_script.then(|| debug.current_line()).flatten()
        })?;
        if line.is_some() {
            return line;
        }
    }
    None
}

/// Executes a command of a script. Returns the reply, and whether it is an error.
fn execute(
    lua: &Lua,
    session: &mut Session,
    running: &Running,
    is_read_only: bool,
    args: MultiValue,
) -> mlua::Result<(Value, bool)> {
    // A script of few instructions may call commands that take long.
    if running.deadline.get().is_some_and(|deadline| Instant::now() >= deadline) {
        running.is_over.set(true);
        return Err(time_is_over());
    }
    let mut output = Vec::new();
    let protocol = running.protocol.get();
    let done = dispatch(session, is_read_only, &args, &mut Reply::new(&mut output, protocol));
    if let Err(error) = done {
        output.clear();
        Reply::new(&mut output, protocol).error(error);
    }
    let has_failed = output.first() == Some(&b'-');
    Ok((to_lua(lua, &output)?, has_failed))
}

fn dispatch(
    session: &mut Session,
    is_read_only: bool,
    args: &MultiValue,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let refused = |text: &str| Err(CommandError::other(format!("ERR {text}")));
    let mut owned: Vec<Vec<u8>> = Vec::with_capacity(args.len());
    for value in args {
        owned.push(match value {
            Value::String(bytes) => bytes.as_bytes().to_vec(),
            Value::Integer(number) => with_17_digits(*number as f64).into_bytes(),
            Value::Number(number) => with_17_digits(*number).into_bytes(),
            _ => return refused("Lua redis lib command arguments must be strings or integers"),
        });
    }
    let args: Vec<&[u8]> = owned.iter().map(Vec::as_slice).collect();
    let Some(name) = args.first() else {
        return refused("Please specify at least one argument for this redis lib call");
    };
    let Some((index, command)) = session.commands.find(name) else {
        return refused("Unknown Redis command called from script");
    };
    if !command.accepts(args.len()) {
        return refused("Wrong number of args calling Redis command from script");
    }
    if command.flags.has(Flags::NO_SCRIPT) {
        return refused("This Redis command is not allowed from script");
    }
    if is_read_only && command.flags.has(Flags::WRITE) {
        return refused("Write commands are not allowed from read-only scripts.");
    }
    session.call(index, command, &args, reply);
    Ok(())
}

/// The error of a script that has failed.
fn failure_of(failure: &Value, digest: ScriptDigest) -> CommandError {
    let Value::Table(table) = failure else {
        // Lua has too little memory left to call our error handler.
        return mlua::Error::MemoryError(String::new()).into();
    };
    let text: Option<LuaString> = table.raw_get("err").ok();
    let text = text.map_or_else(String::new, |text| text.to_string_lossy());
    let text = text.lines().next().unwrap_or_default();
    CommandError::other(match table.raw_get::<Option<usize>>("line") {
        Ok(Some(line)) => format!("{text} script: {}, on {CHUNK_NAME}:{line}.", digest.as_str()),
        _ => format!("{text} script: {}", digest.as_str()),
    })
}

impl From<mlua::Error> for CommandError {
    fn from(error: mlua::Error) -> Self {
        Self::other(match error {
            mlua::Error::MemoryError(_) => {
                "ERR the script needs more memory than a script may have".to_owned()
            }
            error => format!("ERR Error running script: {}", first_line(&error)),
        })
    }
}

/// The first line of an error's text, without the place in our code.
fn first_line(error: &mlua::Error) -> String {
    let text = match error {
        mlua::Error::CallbackError { cause, .. } => return first_line(cause),
        mlua::Error::SyntaxError { message, .. } | mlua::Error::RuntimeError(message) => {
            message.clone()
        }
        error => error.to_string(),
    };
    text.lines().next().unwrap_or_default().to_owned()
}
