//! What hurricane wants of a TCP connection.

use std::io;

use hurricane_core::session::Patience;
use hurricane_core::time::micros;
use rustix::net::sockopt;
use tokio::net::TcpStream;

/// Has a connection send at once what it is given, and end when its peer does not acknowledge for
/// longer than the most patient session waits for it: the system alone would keep it for 15 minutes.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    {
        let milliseconds = micros(Patience::CLIENT.silent) / 1000;
        sockopt::set_tcp_user_timeout(stream, u32::try_from(milliseconds).unwrap_or(u32::MAX))?;
    }
    Ok(())
}
