//! The thread of the nodes of a process, and what they share in it.

use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};

use hurricane_core::member::NodeDescription;
use hurricane_core::node::MAX_WAITING;
use hurricane_core::resources::Resources;
use tokio::runtime::{self, Runtime};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

use super::crew::Equipment;
use super::member::Member;
use super::{Control, NodesConfig, NodesError, Report, Wish};
use crate::dialing::Dialer;
use crate::greeting::{Greeting, Side};
use crate::identity::KeyPair;
use crate::platform::descriptors;
use crate::platform::machine;
use crate::platform::signals::Mask;
use crate::store::Store;
use crate::transfer::{Door, Roster, Shelf, Transfer, own_addresses};
use crate::worker::Wires;

/// For ending process trees, of which few end at a time, and for names of hosts.
const BLOCKING_THREADS: usize = 4;

/// What each node opens beside its workers, counted in workers, which take four descriptors each:
/// connections to the scheduler, and to and from other nodes.
const WORTH_OF_NODE: u64 = 8;

/// Hears what happens to each node.
pub(super) type Reporting = Box<dyn Fn(usize, Report) + Send>;

/// What the nodes of a process share.
pub(super) struct Common {
    pub(super) dialer: Rc<Dialer>,
    pub(super) store: Arc<Store>,
    pub(super) transfer: Rc<Transfer>,
    pub(super) equipment: Equipment,
    pub(super) wish: watch::Receiver<Wish>,
    key: KeyPair,
    /// Where other nodes are answered.
    port: u16,
    report: RefCell<Reporting>,
}

impl Common {
    /// What a node says of itself. Addresses may have changed since the last time.
    pub(super) fn describe(&self, resources: Resources) -> NodeDescription {
        NodeDescription {
            resources,
            key: *self.key.public().as_bytes(),
            addresses: own_addresses(self.port),
            port: self.port,
            host: machine::name(),
        }
    }

    /// Tells of one of the nodes.
    pub(super) fn report(&self, index: usize, report: Report) {
        (self.report.borrow())(index, report);
    }
}

/// Starts the thread; returns when the nodes begin to look for their scheduler.
pub(super) fn start(
    config: NodesConfig,
    report: Reporting,
    control: Arc<Control>,
) -> Result<JoinHandle<()>, NodesError> {
    reserve_descriptors(&config.shares)?;
    let equipment = Equipment::of(&config.workers)?;
    let key = config.state.machine_key()?;
    let runtime = runtime().map_err(NodesError::Thread)?;
    let (begun, beginning) = mpsc::sync_channel(1);
    let service = Service { config, report, control, equipment, key };
    // Signals are the program's business, so the thread is born with all of them blocked.
    let mask = Mask::block_all();
    let thread = thread::Builder::new()
        .name("hurricane".into())
        .spawn(move || service.run(&runtime, &begun));
    mask.apply();
    let thread = thread.map_err(NodesError::Thread)?;
    match beginning.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(NodesError::Thread(io::ErrorKind::Other.into())),
    }
}

fn runtime() -> io::Result<Runtime> {
    let mut builder = runtime::Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(BLOCKING_THREADS).build()
}

/// Each slot may have a worker that is starting while another ends, beside those that wait: as many
/// as one node may have, which all of them hardly have at the same time.
fn reserve_descriptors(shares: &[Resources]) -> Result<(), NodesError> {
    let workers = |share: &Resources| share.cpus.units_rounded_up().saturating_mul(2);
    let of_nodes = shares.iter().map(|share| workers(share).saturating_add(WORTH_OF_NODE));
    let waiting = u64::from(MAX_WAITING);
    Ok(descriptors::reserve_for(of_nodes.fold(waiting, u64::saturating_add))?)
}

/// What the thread begins with.
struct Service {
    config: NodesConfig,
    report: Reporting,
    control: Arc<Control>,
    equipment: Equipment,
    key: KeyPair,
}

impl Service {
    fn run(self, runtime: &Runtime, begun: &SyncSender<Result<(), NodesError>>) {
        let control = Arc::clone(&self.control);
        // Dropped last, whatever happens: nobody must wait for nodes that are not there.
        let _over = Over(control);
        LocalSet::new().block_on(runtime, async {
            match self.begin() {
                Ok(members) => {
                    // Whoever started it waits for this.
                    let _ = begun.send(Ok(()));
                    members.join_all().await;
                }
                Err(error) => {
                    let _ = begun.send(Err(error));
                }
            }
        });
    }

    fn begin(self) -> Result<JoinSet<()>, NodesError> {
        let Self { config, report, control, equipment, key } = self;
        let store = Arc::<Store>::default();
        let roster = Roster::new();
        let lent = Shelf::new(Arc::clone(&store), roster);
        let port = Door::open(&lent, &key).map_err(NodesError::Door)?;
        let transfer = Transfer::new(lent, &key);
        tokio::task::spawn_local(Rc::clone(&transfer).close_idle_lines());
        let greeting = Greeting::own(Side::Node, config.python_minor);
        let dialer = Dialer::new(&config.state, config.target, &config.choice, greeting)?;
        let wish = control.wish.subscribe();
        let report = RefCell::new(report);
        let common =
            Rc::new(Common { dialer, store, transfer, equipment, wish, key, port, report });
        let gpus = ranges_of_gpus(&config.shares);
        let nodes = config.shares.into_iter().zip(gpus).zip(&control.pids).enumerate();
        let mut members = JoinSet::new();
        for (index, ((resources, gpus), pids)) in nodes {
            let wires =
                Arc::new(Wires::new(Arc::clone(&common.store)).map_err(NodesError::Thread)?);
            let (common, pids) = (Rc::clone(&common), Arc::clone(pids));
            let member = Member::new(common, index, resources, gpus, pids, wires);
            members.spawn_local(member.live());
        }
        Ok(members)
    }
}

/// Which graphics processors are whose, in the order of the nodes.
fn ranges_of_gpus(shares: &[Resources]) -> Vec<Range<usize>> {
    let mut next = 0;
    let range = |share: &Resources| {
        let begin: usize = next;
        let gpus = usize::try_from(share.gpus.units_rounded_up()).unwrap_or(usize::MAX);
        next = begin.saturating_add(gpus);
        begin..next
    };
    shares.iter().map(range).collect()
}

/// Says that the nodes are over when it is dropped.
struct Over(Arc<Control>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.set_over();
    }
}

#[cfg(test)]
mod tests {
    use hurricane_core::resources::Amount;

    use super::*;

    #[test]
    fn no_graphics_processor_is_given_twice() {
        let with = |gpus| Resources { gpus: Amount::whole(gpus), ..Resources::cpus(1) };
        assert_eq!(ranges_of_gpus(&[with(2), with(0), with(1)]), [0..2, 2..2, 2..3]);
    }
}
