//! What the allocator has free goes back to the kernel.

/// Gives back what this thread has freed and keeps for a while. The allocator does so by itself as
/// long as it is asked for memory; without this a relay whose clients have all become quiet would
/// keep what their handshakes took, up to a KiB for each.
pub fn give_back_memory() {
    // SAFETY: it takes no pointer, and concerns the memory of the calling thread and what is free.
    unsafe { libmimalloc_sys::mi_collect(false) }
}
