//! Passes on what the interpreter that the module is built for is like.

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
