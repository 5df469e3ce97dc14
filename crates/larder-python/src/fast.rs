//! A quick way into the methods that are called most.
//!
//! For a method with several arguments, the bindings to the stable ABI of CPython 3.9 make a tuple, and mostly a
//! dict, for each call. CPython itself has passed arguments in place since 3.7; the stable ABI lists that
//! convention since 3.10, and nothing about it has changed. So the calls of the usual forms come here, and all
//! others go on to the method that the bindings have made.

use std::ffi::{CString, c_int};
use std::ptr;

use pyo3::exceptions::PyValueError;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyAnyMethods, PyDict, PyDictMethods, PyTuple, PyType, PyTypeMethods};
use pyo3::{Borrowed, Bound, Py, PyAny, PyResult, Python, ffi};

/// The values of CPython's constants, which the bindings leave out for 3.9.
const METH_FASTCALL: c_int = 0x0080;

/// The arguments of a call that gives no keywords.
pub(crate) type Arguments<'a> = &'a [*mut ffi::PyObject];

/// A method's quick form: `None` if it does not serve these arguments. It is to drop no `Py`, which would wait for
/// the next call of a method of the bindings.
pub(crate) type Quick = for<'a, 'py> fn(
    &Borrowed<'a, 'py, PyAny>,
    Arguments<'a>,
) -> PyResult<Option<Bound<'py, PyAny>>>;

/// A method that has a quick form: names it, and the place of the one that the bindings have made.
pub(crate) trait QuickMethod {
    const NAME: &'static str;
    const QUICK: Quick;
    fn original() -> &'static PyOnceLock<Py<PyAny>>;
}

/// Gives a class the quick form of a method.
///
/// # Errors
/// As those of attributes of the class.
pub(crate) fn install<M: QuickMethod>(class: &Bound<'_, PyType>) -> PyResult<()> {
    let py = class.py();
    let original = class.getattr(M::NAME)?;
    let signature: String = original.getattr("__text_signature__")?.extract()?;
    let description: String = original.getattr("__doc__")?.extract()?;
    let doc = CString::new(format!("{}{signature}\n--\n\n{description}", M::NAME))
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    let name = CString::new(M::NAME).map_err(|error| PyValueError::new_err(error.to_string()))?;
    let function: FastFunction = call::<M>;
    let method = ffi::PyMethodDef {
        ml_name: name.into_raw(),
        ml_meth: ffi::PyMethodDefPointer {
            // SAFETY: both are pointers to functions; the flags say which kind this is.
            PyCFunction: unsafe { std::mem::transmute::<FastFunction, ffi::PyCFunction>(function) },
        },
        ml_flags: METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: doc.into_raw(),
    };
    // The interpreter refers to it, and to what it refers to, as long as it runs.
    let method = Box::leak(Box::new(method));
    // SAFETY: the class and the definition are valid; the latter for ever.
    let descriptor = unsafe { ffi::PyDescr_NewMethod(class.as_type_ptr(), method) };
    // SAFETY: it is a new reference, or null with an error set.
    let descriptor = unsafe { Bound::from_owned_ptr_or_err(py, descriptor) }?;
    // A module may be initialized again, and the first form is the one that the bindings made.
    M::original().get_or_init(py, || original.unbind());
    class.setattr(M::NAME, descriptor)
}

type FastFunction = unsafe extern "C" fn(
    *mut ffi::PyObject,
    *const *mut ffi::PyObject,
    ffi::Py_ssize_t,
    *mut ffi::PyObject,
) -> *mut ffi::PyObject;

/// # Safety
/// To be called by the interpreter, as its calling convention says.
unsafe extern "C" fn call<M: QuickMethod>(
    this: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls attached.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: the interpreter passes a live object.
    let this = unsafe { Borrowed::from_ptr(py, this) };
    // SAFETY: the interpreter passes its arguments.
    match unsafe { call_either::<M>(&this, arguments, count, names) } {
        Ok(result) => result.into_ptr(),
        Err(error) => {
            error.restore(py);
            ptr::null_mut()
        }
    }
}

/// Calls the quick form, or the method that the bindings have made.
///
/// # Safety
/// As of [`call_original`].
#[inline]
unsafe fn call_either<'py, M: QuickMethod>(
    this: &Borrowed<'_, 'py, PyAny>,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> PyResult<Bound<'py, PyAny>> {
    if names.is_null() {
        let given = if count == 0 {
            &[]
        } else {
            // SAFETY: there are `count` arguments, alive during the call.
            unsafe { std::slice::from_raw_parts(arguments, count.unsigned_abs()) }
        };
        if let Some(result) = (M::QUICK)(this, given)? {
            return Ok(result);
        }
    }
    // SAFETY: the caller vouches for the arguments.
    unsafe { call_original::<M>(this, arguments, count, names) }
}

/// Calls the method that the bindings have made.
///
/// # Safety
/// `arguments` has `count` live objects, and then one for each of `names`, if it is not null.
#[cold]
unsafe fn call_original<'py, M: QuickMethod>(
    this: &Borrowed<'_, 'py, PyAny>,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let argument = |index: usize| {
        // SAFETY: the index is not beyond the arguments.
        let place = unsafe { arguments.add(index) };
        // SAFETY: as above; the caller vouches for the arguments.
        let object = unsafe { *place };
        // SAFETY: the arguments are alive during the call.
        unsafe { Bound::from_borrowed_ptr(py, object) }
    };
    let count = count.unsigned_abs();
    let mut positional = vec![Bound::clone(this)];
    positional.extend((0..count).map(argument));
    let keywords = PyDict::new(py);
    // SAFETY: it is a tuple if there is one.
    if let Some(names) = unsafe { Bound::from_borrowed_ptr_or_opt(py, names) } {
        for (index, name) in names.try_iter()?.enumerate() {
            keywords.set_item(name?, argument(count + index))?;
        }
    }
    let original = M::original().get(py).map(|original| original.bind(py).clone());
    let original =
        original.ok_or_else(|| PyValueError::new_err("the module is not initialized"))?;
    original.call(PyTuple::new(py, positional)?, Some(&keywords))
}
