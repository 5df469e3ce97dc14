//! The part of larder for Python that is not written in Python: the entries, and who owns their objects.
//!
//! Decorators, the interface of PyQuickCache and the backend of Django are modules in Python above the class
//! [`Core`](core::Core). The modules here from the top to the ground: `insight` says what a cache knows of itself,
//! `calls` and `lookups` have what a decorated call and PyQuickCache's `get` do, `verbs` has what the methods of the
//! class have in common, `core` the class, `quick` and `fast` a short way into some methods, `listening` the listener,
//! `store` the entries behind it, `loads` knows which loads are stale, `key` compares keys, and `holdings` owns every
//! object.
//!
//! # No Python code in the wrong place
//! `__eq__`, `__hash__`, `__del__`, weighers and listeners are Python code: they may raise, take seconds, use
//! the same cache, or let another thread run. So none of them runs while a lock of ours is held, or while
//! the library is searching or changing its table:
//!
//! - A key's hash and an entry's weight are computed before the library is called.
//! - The comparisons within the library compare addresses, and keys of built-in types; keys of other types
//!   are collected, and compared after the search (`key`, `store`).
//! - An object that the library drops stays in the holdings until the call has nothing left to do
//!   (`holdings`); then it is released, and listeners are called.
//!
//! # The interpreter's lock
//! No call gives the interpreter's lock up, except by running Python code, which is done outside of the
//! library. Maintenance is inline, and no thread is started. So with that lock, a thread within the library
//! is alone there: it waits for no other, and neither `fork` nor the garbage collector finds it half way.
//! Without it (free threading), the library's own synchronisation holds.
//!
//! # The end of the interpreter
//! A daemon thread that comes back from Python code then is ended by the interpreter, up to CPython 3.13 by unwinding its
//! stack, through the frames here. They are built with `panic = "abort"`, so that nothing of them runs on the way: it
//! would run without the interpreter's lock. A panic here, which would be a bug, ends the process.

// Modules from the top to the ground, each of which uses those below it.
mod insight;
mod calls;
mod lookups;
#[cfg(not(PyPy))]
mod quick;
mod verbs;
mod core;
#[cfg(not(PyPy))]
mod fast;
mod clock;
mod arguments;
mod listening;
mod store;
mod loads;
mod key;
mod holdings;
mod guarded;

use pyo3::pymodule;

/// The native part of `larder`.
#[pymodule(gil_used = false)]
mod _native {
    #[cfg(not(PyPy))]
    use pyo3::exceptions::PyImportError;
    #[cfg(not(PyPy))]
    use pyo3::ffi;
    use pyo3::types::PyModule;
    use pyo3::{Bound, PyResult};

    #[pymodule_export]
    use crate::calls::{Call, Method};
    #[pymodule_export]
    use crate::clock::ManualClock;
    #[pymodule_export]
    use crate::core::Core;
    #[pymodule_export]
    use crate::insight::{
        frequency, policies, ranked, reset_shadow_counts, segments, shadow_report, weight,
    };
    #[pymodule_export]
    use crate::loads::Fill;
    #[pymodule_export]
    use crate::lookups::Lookups;

    /// Refuses subinterpreters, which PyPy does not have: an object of one must not be used in another, which a cache
    /// could not tell.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        #[cfg(not(PyPy))]
        {
            // SAFETY: a module is initialized by a thread that is attached to an interpreter.
            let interpreter = unsafe { ffi::PyInterpreterState_Get() };
            // SAFETY: the interpreter is the current one, so it exists.
            if unsafe { ffi::PyInterpreterState_GetID(interpreter) } != 0 {
                let message =
                    "larder cannot be imported in a subinterpreter; use it in the main interpreter";
                return Err(PyImportError::new_err(message));
            }
            crate::quick::install(module.py())?;
            crate::lookups::hasten(module.py())?;
        }
        #[cfg(PyPy)]
        let _ = module;
        Ok(())
    }
}
