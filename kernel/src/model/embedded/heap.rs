//! Gives memory back.

/// Gives the system what the heap holds and nobody uses. Of what a load takes for a while (the texts of the
/// vocabulary, weights on their way into another form) the C library keeps 67 MB for a model of 1.5 billion
/// parameters.
pub(super) fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes a number, the bytes to leave at the end of the heap, and may be called at any time.
    #[allow(unsafe_code, reason = "the C library's heap has no other interface")]
    unsafe {
        libc::malloc_trim(0);
    }
}
