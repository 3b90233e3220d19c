//! The C library's own buffer of standard output: it must not hold back what a task prints.

use hurricane_core::message::Stream;
use rustix::io::Errno;

#[expect(unsafe_code, reason = "the C library's name for its standard output")]
unsafe extern "C" {
    static mut stdout: *mut libc::FILE;
}

/// Has what C code prints go out line by line, though it goes into a pipe.
pub(crate) fn send_lines() {
    #[expect(unsafe_code, reason = "libc alone offers setvbuf")]
    // SAFETY: the C library makes `stdout` before `main`, and this process has not printed yet.
    unsafe {
        libc::setvbuf(stdout, std::ptr::null_mut(), libc::_IOLBF, 0);
    }
}

/// Sends on what C code has printed without an end of line.
pub(crate) fn flush() {
    #[expect(unsafe_code, reason = "libc alone offers fflush")]
    // SAFETY: the stream locks itself, and what cannot be written is for nobody.
    unsafe {
        libc::fflush(stdout);
    }
}

/// Writes a mark to standard output or error, whole: it is shorter than what pipes take at once.
pub(crate) fn write_mark(stream: Stream, mark: &[u8]) {
    loop {
        let written = match stream {
            Stream::Stdout => rustix::io::write(rustix::stdio::stdout(), mark),
            Stream::Stderr => rustix::io::write(rustix::stdio::stderr(), mark),
        };
        // Where nothing can be written, there is nothing to be marked.
        if written != Err(Errno::INTR) {
            return;
        }
    }
}
