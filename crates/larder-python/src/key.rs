//! Keys: what of Python's equality can be decided without running Python code, and what is left to decide.
//!
//! A key is found by its hash, computed by Python. Two keys with equal hashes are one key if they are the same
//! object, or if they are equal. Whether two keys of built-in types are equal ([`Kind`]) is decided here, by
//! functions of the interpreter that run no Python code. Of a key of another type that is not the same object,
//! a search says only that it has met it ([`Query::has_met_other`]). Then the caller collects the keys with
//! that hash ([`Collect`]), compares them when the search is over, and searches for the very object that is
//! equal ([`Query::same`]).
//!
//! Two stored keys are never compared by Python code either: `store` finds the stored key first.

use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};

use larder::Equivalent;
use pyo3::types::PyAnyMethods;
use pyo3::{Bound, Py, PyAny, PyResult, Python, ffi};

/// A tuple that is longer, or nested deeper, is compared by Python.
const MAX_ITEMS: isize = 16;
const MAX_DEPTH: u32 = 4;

/// What a key is, as far as comparisons need to know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Bytes,
    /// An `int` whose hash is the number itself ([`number_of`]).
    SmallInt,
    /// Another `int`, and no `bool`; within a tuple, any `int`.
    Int,
    /// A `float` or a `bool`, which may equal an `int`.
    Number,
    Nothing,
    /// A tuple of such keys.
    Tuple,
    /// Any other key, whose `__eq__` may run Python code.
    Other,
}

impl Kind {
    pub(crate) fn of(key: &Bound<'_, PyAny>) -> Self {
        if number_of(key).is_some() {
            return Self::SmallInt;
        }
        // SAFETY: `key` is a reference to a live object.
        unsafe { kind_of(key.as_ptr(), 0) }
    }

    /// Whether a key of this kind is equal to keys of this kind only, each of which can stand for the other.
    pub(crate) fn is_simple(self) -> bool {
        matches!(self, Self::Text | Self::Bytes | Self::SmallInt | Self::Int | Self::Nothing)
    }
}

/// The modulus of Python's hashes of numbers, `sys.hash_info.modulus`.
const MODULUS: u64 = if cfg!(target_pointer_width = "64") { (1 << 61) - 1 } else { (1 << 31) - 1 };

/// The number that a key is, if it is an `int` whose hash is the number itself: below the modulus, and not -1, which no
/// hash is. Two such keys are equal if their hashes are.
#[inline]
fn number_of(key: &Bound<'_, PyAny>) -> Option<isize> {
    let object = key.as_ptr();
    // SAFETY: `key` is a reference to a live object.
    let class = unsafe { ffi::Py_TYPE(object) };
    if class != &raw mut ffi::PyLong_Type {
        return None;
    }
    let mut overflow = 0;
    // SAFETY: it is an `int`, so this sets no error; for one that does not fit, the result is -1.
    let number = unsafe { ffi::PyLong_AsLongLongAndOverflow(object, &raw mut overflow) };
    if number == -1 || number.unsigned_abs() >= MODULUS {
        return None;
    }
    isize::try_from(number).ok()
}

/// # Safety
/// `object` points to a live object, and the thread is attached to the interpreter.
unsafe fn kind_of(object: *mut ffi::PyObject, depth: u32) -> Kind {
    // SAFETY: the caller vouches for `object`.
    let class = unsafe { ffi::Py_TYPE(object) };
    if class == &raw mut ffi::PyUnicode_Type {
        Kind::Text
    } else if class == &raw mut ffi::PyLong_Type {
        Kind::Int
    } else if class == &raw mut ffi::PyTuple_Type {
        // SAFETY: it is a tuple.
        let len = unsafe { ffi::PyTuple_Size(object) };
        if len > MAX_ITEMS || depth >= MAX_DEPTH {
            return Kind::Other;
        }
        for index in 0..len {
            // SAFETY: it is a tuple that has an item at `index`.
            let item = unsafe { ffi::PyTuple_GetItem(object, index) };
            // SAFETY: the tuple, which does not change, keeps its items alive.
            if unsafe { kind_of(item, depth + 1) } == Kind::Other {
                return Kind::Other;
            }
        }
        Kind::Tuple
    } else if class == &raw mut ffi::PyBytes_Type {
        Kind::Bytes
    } else if class == &raw mut ffi::PyFloat_Type || class == &raw mut ffi::PyBool_Type {
        Kind::Number
    } else if is_none(object) {
        Kind::Nothing
    } else {
        Kind::Other
    }
}

fn is_none(object: *mut ffi::PyObject) -> bool {
    // SAFETY: `None` always exists.
    object == unsafe { ffi::Py_None() }
}

/// Whether two keys with equal hashes, neither of which is of [`Kind::Other`], are equal.
///
/// # Safety
/// Both point to live objects of these kinds, and the thread is attached to the interpreter.
unsafe fn are_equal(
    one: *mut ffi::PyObject,
    one_kind: Kind,
    other: *mut ffi::PyObject,
    other_kind: Kind,
) -> bool {
    match (one_kind, other_kind) {
        _ if one == other => true,
        (Kind::SmallInt, Kind::SmallInt) => true,
        (Kind::SmallInt, Kind::Int) | (Kind::Int, Kind::SmallInt) => false,
        (Kind::Text, Kind::Text) => {
            // SAFETY: both are strings.
            let order = unsafe { ffi::PyUnicode_Compare(one, other) };
            if order != 0 {
                // SAFETY: the thread is attached. Out of memory, the interpreter may have set an error.
                unsafe { ffi::PyErr_Clear() };
            }
            order == 0
        }
        (Kind::Bytes, Kind::Bytes) => {
            // SAFETY: it is `bytes`, which the caller keeps alive.
            let one = unsafe { bytes_of(one) };
            // SAFETY: as above.
            one == unsafe { bytes_of(other) }
        }
        (Kind::SmallInt | Kind::Int | Kind::Number, Kind::SmallInt | Kind::Int | Kind::Number) => {
            // SAFETY: both are numbers of built-in types, whose comparison runs no Python code.
            unsafe { ffi::PyObject_RichCompareBool(one, other, ffi::Py_EQ) == 1 }
        }
        // SAFETY: both are tuples.
        (Kind::Tuple, Kind::Tuple) => unsafe { are_equal_tuples(one, other) },
        _ => false,
    }
}

/// # Safety
/// `object` points to a live object of type `bytes`.
unsafe fn bytes_of<'b>(object: *mut ffi::PyObject) -> &'b [u8] {
    // SAFETY: the caller vouches that it is `bytes`.
    let len = unsafe { ffi::PyBytes_Size(object) };
    // SAFETY: as above.
    let start = unsafe { ffi::PyBytes_AsString(object) };
    // SAFETY: an object of type `bytes` has as many bytes there as it says, which never change; the caller
    // keeps it alive.
    unsafe { std::slice::from_raw_parts(start.cast(), len.unsigned_abs()) }
}

/// # Safety
/// Both point to live tuples of kind [`Kind::Tuple`].
unsafe fn are_equal_tuples(one: *mut ffi::PyObject, other: *mut ffi::PyObject) -> bool {
    // SAFETY: it is a tuple.
    let len = unsafe { ffi::PyTuple_Size(one) };
    // SAFETY: it is a tuple.
    if len != unsafe { ffi::PyTuple_Size(other) } {
        return false;
    }
    (0..len).all(|index| {
        // SAFETY: it is a tuple with an item at `index`.
        let left = unsafe { ffi::PyTuple_GetItem(one, index) };
        // SAFETY: the other one is as long.
        let right = unsafe { ffi::PyTuple_GetItem(other, index) };
        // SAFETY: the tuple keeps its items alive.
        let left_kind = unsafe { kind_of(left, 1) };
        // SAFETY: as above.
        let right_kind = unsafe { kind_of(right, 1) };
        // SAFETY: both are alive, and of these kinds, none of which is `Other`: a tuple with such an item would
        // be `Other` itself. None is a `SmallInt` here, so the hashes of items, which may differ, do not matter.
        unsafe { are_equal(left, left_kind, right, right_kind) }
    })
}

/// A key in the table. The holdings own the object that it refers to, for longer than the entry exists. A clone
/// may be used as long as a pin that was held when it was made.
#[derive(Clone)]
pub(crate) struct Key {
    object: *mut ffi::PyObject,
    hash: isize,
    kind: Kind,
}

// SAFETY: the object is used by threads that are attached to the interpreter, and only those call the library.
unsafe impl Send for Key {}
// SAFETY: as above.
unsafe impl Sync for Key {}

impl Key {
    /// A key that refers to `object`. It is to be used no longer than a reference to the object is held.
    pub(crate) fn new(object: &Bound<'_, PyAny>, hash: isize, kind: Kind) -> Self {
        Self { object: object.as_ptr(), hash, kind }
    }

    /// A new reference to the object.
    pub(crate) fn object(&self, py: Python<'_>) -> Py<PyAny> {
        // SAFETY: an entry's key is alive as long as the entry is, because the holdings keep it until the
        // library drops the entry's value.
        unsafe { Bound::from_borrowed_ptr(py, self.object) }.unbind()
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_isize(self.hash);
    }
}

impl PartialEq for Key {
    /// Whether both are one key. Of keys of [`Kind::Other`], the caller has found the stored object before.
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
            && (self.object == other.object
                || self.kind != Kind::Other
                    && other.kind != Kind::Other
                    // SAFETY: both objects are alive, as `Key::object` explains, and of these kinds; only
                    // attached threads call the library.
                    && unsafe { are_equal(self.object, self.kind, other.object, other.kind) })
    }
}

impl Eq for Key {}

/// A key that is looked up.
pub(crate) struct Query<'q, 'py> {
    object: &'q Bound<'py, PyAny>,
    pub(crate) hash: isize,
    kind: Kind,
    is_for_same: bool,
    has_met_other: Cell<bool>,
    /// The stored keys that were found equal, the last one last.
    met: Option<RefCell<Vec<Bound<'py, PyAny>>>>,
}

impl<'q, 'py> Query<'q, 'py> {
    /// # Errors
    /// What the key's `__hash__` raises.
    #[inline]
    pub(crate) fn new(object: &'q Bound<'py, PyAny>) -> PyResult<Self> {
        if let Some(number) = number_of(object) {
            return Ok(Self::new_with(object, number, Kind::SmallInt));
        }
        // SAFETY: `object` is a reference to a live object.
        let kind = unsafe { kind_of(object.as_ptr(), 0) };
        Ok(Self::new_with(object, object.hash()?, kind))
    }

    /// A query for a key of which hash and kind are known.
    #[inline]
    pub(crate) fn new_with(object: &'q Bound<'py, PyAny>, hash: isize, kind: Kind) -> Self {
        let has_met_other = Cell::new(false);
        Self { object, hash, kind, is_for_same: false, has_met_other, met: None }
    }

    /// Looks for this very object, of which the hash is known.
    pub(crate) fn same(object: &'q Bound<'py, PyAny>, hash: isize) -> Self {
        let has_met_other = Cell::new(false);
        Self { object, hash, kind: Kind::Other, is_for_same: true, has_met_other, met: None }
    }

    /// Remembers the stored key that is found.
    pub(crate) fn remembering(mut self) -> Self {
        self.met = Some(RefCell::default());
        self
    }

    /// Whether the search has met a key that only Python can compare with this one.
    #[inline]
    pub(crate) fn has_met_other(&self) -> bool {
        self.has_met_other.get()
    }

    pub(crate) fn object(&self) -> &'q Bound<'py, PyAny> {
        self.object
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The stored keys that were found equal, the last one last. The caller releases them where it may.
    pub(crate) fn met(self) -> Vec<Bound<'py, PyAny>> {
        self.met.map(RefCell::into_inner).unwrap_or_default()
    }

    fn is_equal(&self, stored: &Key) -> bool {
        if self.object.as_ptr() == stored.object {
            return true;
        }
        if self.is_for_same {
            return false;
        }
        if self.kind == Kind::Other || stored.kind == Kind::Other {
            self.has_met_other.set(true);
            return false;
        }
        // SAFETY: both are alive, the stored one as `Key::object` explains, and of these kinds; `Bound` shows
        // that the thread is attached.
        unsafe { are_equal(self.object.as_ptr(), self.kind, stored.object, stored.kind) }
    }
}

impl Hash for Query<'_, '_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_isize(self.hash);
    }
}

impl Equivalent<Key> for Query<'_, '_> {
    fn equivalent(&self, stored: &Key) -> bool {
        let is_equal = self.hash == stored.hash && self.is_equal(stored);
        if is_equal && let Some(met) = &self.met {
            met.borrow_mut().push(stored.object(self.object.py()).into_bound(self.object.py()));
        }
        is_equal
    }
}

/// Finds nothing, and collects the keys that have a hash, except those in `compared`.
pub(crate) struct Collect<'c, 'py> {
    hash: isize,
    compared: &'c [Bound<'py, PyAny>],
    py: Python<'py>,
    found: RefCell<Vec<Bound<'py, PyAny>>>,
}

impl<'c, 'py> Collect<'c, 'py> {
    pub(crate) fn new(hash: isize, compared: &'c [Bound<'py, PyAny>], py: Python<'py>) -> Self {
        Self { hash, compared, py, found: RefCell::default() }
    }

    /// The keys that were met, each once.
    pub(crate) fn found(self) -> Vec<Bound<'py, PyAny>> {
        self.found.into_inner()
    }
}

impl Hash for Collect<'_, '_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_isize(self.hash);
    }
}

impl Equivalent<Key> for Collect<'_, '_> {
    fn equivalent(&self, stored: &Key) -> bool {
        let mut found = self.found.borrow_mut();
        // A search may visit an entry again.
        let is_new = self.compared.iter().chain(&*found).all(|met| met.as_ptr() != stored.object);
        if self.hash == stored.hash && is_new {
            found.push(stored.object(self.py).into_bound(self.py));
        }
        false
    }
}
