//! What a client declares, as oslo.messaging's `impl_rabbit.py` does under each option.

use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};

use super::super::options::{RabbitOptions, RpcSettings};

/// Where the operator sets none, as Python's library leaves it. What a broker sends has to lie somewhere here until
/// it is read.
const PREFETCH_DEFAULT: u16 = 256;

/// The declarations of one process.
#[derive(Clone, Debug)]
pub(in crate::control::rpc) struct Topology {
    /// `nova`
    pub(in crate::control::rpc) exchange: String,
    pub(in crate::control::rpc) exchange_options: ExchangeDeclareOptions,
    pub(in crate::control::rpc) reply_queue: String,
    pub(in crate::control::rpc) reply_queue_options: QueueDeclareOptions,
    pub(in crate::control::rpc) reply_queue_arguments: FieldTable,
    /// Servers until oslo.messaging 9.1 answer to an exchange that is named like the queue
    pub(in crate::control::rpc) reply_exchange: Option<ExchangeDeclareOptions>,
    pub(in crate::control::rpc) consumer_arguments: FieldTable,
    /// Replies on their way at a time
    pub(in crate::control::rpc) prefetch: u16,
}

impl Topology {
    pub(in crate::control::rpc) fn new(settings: &RpcSettings, reply_queue: &str) -> Self {
        let rabbit = &settings.rabbit;
        let durable_replies = rabbit.reply_quorum.is_some();
        Self {
            exchange: settings.control_exchange.clone(),
            exchange_options: ExchangeDeclareOptions {
                durable: rabbit.durable_exchange,
                auto_delete: rabbit.auto_delete_exchange,
                ..ExchangeDeclareOptions::default()
            },
            reply_queue: reply_queue.to_owned(),
            reply_queue_options: QueueDeclareOptions {
                durable: durable_replies,
                ..QueueDeclareOptions::default()
            },
            reply_queue_arguments: reply_queue_arguments(rabbit),
            reply_exchange: settings
                .reply_exchange
                .then(|| ExchangeDeclareOptions { auto_delete: true, ..ExchangeDeclareOptions::default() }),
            consumer_arguments: if rabbit.cancel_on_failover {
                table([("x-cancel-on-ha-failover", AMQPValue::Boolean(true))])
            } else {
                FieldTable::default()
            },
            prefetch: if rabbit.prefetch == 0 { PREFETCH_DEFAULT } else { rabbit.prefetch },
        }
    }
}

fn reply_queue_arguments(rabbit: &RabbitOptions) -> FieldTable {
    let mut arguments = FieldTable::default();
    let mut number = |name: &str, value: i64| {
        if value != 0 {
            // The types that Python's library chooses: the broker compares them when a queue is declared again.
            let value = i32::try_from(value).map_or(AMQPValue::LongLongInt(value), AMQPValue::LongInt);
            arguments.insert(name.into(), value);
        }
    };
    number("x-expires", i64::from(rabbit.reply_queue_ttl_s) * 1_000);
    if let Some(quorum) = rabbit.reply_quorum {
        number("x-delivery-limit", quorum.delivery_limit.into());
        number("x-max-in-memory-length", quorum.max_memory_length.into());
        number("x-max-in-memory-bytes", quorum.max_memory_bytes.into());
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    }
    if rabbit.ha_queues {
        arguments.insert("x-ha-policy".into(), AMQPValue::LongString("all".into()));
    }
    arguments
}

fn table<const N: usize>(entries: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(name.into(), value);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::super::options::QuorumLimits;
    use super::super::super::tests::settings;
    use super::*;

    /// The client's declarations in a capture of real oslo.messaging peers: arguments of queue.declare and
    /// basic.consume of its reply queue, and exchange.declare.
    fn captured(name: &str) -> (Value, Value, Value) {
        let path = format!("{}/tests/data/oslo/topology-{name}.json", env!("CARGO_MANIFEST_DIR"));
        let capture: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let find = |method: &str, field: &str, starts: &str| {
            let mut messages = capture["messages"].as_array().unwrap().iter();
            let is_it = |message: &&Value| {
                message["method"] == method && message["args"][field].as_str().unwrap().starts_with(starts)
            };
            messages.find(is_it).map_or(Value::Null, |message| message["args"].clone())
        };
        (
            find("queue.declare", "queue", "reply_"),
            find("basic.consume", "queue", "reply_"),
            find("exchange.declare", "exchange", "nova"),
        )
    }

    fn arguments(table: &FieldTable) -> Value {
        let value = |value: &AMQPValue| match value {
            AMQPValue::LongInt(number) => json!(number),
            AMQPValue::Boolean(flag) => json!(flag),
            AMQPValue::LongString(text) => json!(text.to_string()),
            other => panic!("{other:?}"),
        };
        let entries = table.inner().iter().map(|(name, entry)| (name.to_string(), value(entry)));
        Value::Object(entries.collect())
    }

    fn compare(name: &str, change: impl FnOnce(&mut RabbitOptions)) {
        let mut settings = settings();
        change(&mut settings.rabbit);
        let ours = Topology::new(&settings, "reply_x");
        let (queue, consume, exchange) = captured(name);
        assert_eq!(json!(ours.exchange_options.durable), exchange["durable"], "{name}");
        assert_eq!(json!(ours.exchange_options.auto_delete), exchange["auto_delete"], "{name}");
        if name == "default" {
            return; // the capture has no client
        }
        assert_eq!(json!(ours.reply_queue_options.durable), queue["durable"], "{name}");
        assert_eq!(json!(ours.reply_queue_options.auto_delete), queue["auto_delete"], "{name}");
        assert_eq!(arguments(&ours.reply_queue_arguments), queue["arguments"], "{name}");
        assert_eq!(arguments(&ours.consumer_arguments), consume["arguments"], "{name}");
    }

    #[test]
    fn declarations_are_those_of_oslo_messaging_under_each_option() {
        compare("default", |_| {});
        compare("durable", |rabbit| rabbit.durable_exchange = true);
        compare("autodelete", |rabbit| rabbit.auto_delete_exchange = true);
        compare("quorum", |rabbit| rabbit.durable_exchange = true);
        compare("quorum-all", |rabbit| {
            rabbit.durable_exchange = true;
            let limits = QuorumLimits { delivery_limit: 5, max_memory_length: 100, max_memory_bytes: 0 };
            rabbit.reply_quorum = Some(limits);
        });
        compare("stream", |rabbit| {
            rabbit.durable_exchange = true;
            rabbit.reply_quorum = Some(QuorumLimits::default());
        });
        compare("ha", |rabbit| {
            rabbit.ha_queues = true;
            rabbit.cancel_on_failover = true;
        });
        compare("qm", |rabbit| rabbit.reply_queue_ttl_s = 0);
    }

    #[test]
    fn the_reply_exchange_is_that_of_clients_before_train() {
        let mut settings = settings();
        let options = Topology::new(&settings, "reply_x").reply_exchange.unwrap();
        assert!(options.auto_delete && !options.durable);
        settings.reply_exchange = false;
        assert_eq!(Topology::new(&settings, "reply_x").reply_exchange, None);
    }
}
