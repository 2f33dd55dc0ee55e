package funcapp

import (
	"math"
	"time"
)

const (
	maxQueueBatch      = 32 // what the service gives in one answer
	maxQueueVisibility = 7 * 24 * time.Hour
	minQueuePolling    = 100 * time.Millisecond
)

// defaultQueues is extensions.queues with nothing in it.
func defaultQueues() QueuesConfig {
	return QueuesConfig{BatchSize: 16, NewBatchThreshold: 8, MaxPollingInterval: time.Minute, MaxDequeueCount: 5, MessageEncoding: EncodingBase64}
}

func queuesConfig(r reporter, n *node) QueuesConfig {
	c := defaultQueues()
	if n == nil {
		return c
	}
	const at = "extensions.queues."
	c.BatchSize = r.integer(n.get("batchSize"), at+"batchSize", c.BatchSize, 1, maxQueueBatch)
	c.NewBatchThreshold = r.integer(n.get("newBatchThreshold"), at+"newBatchThreshold", c.BatchSize/2, 0, math.MaxInt16)
	c.MaxDequeueCount = r.integer(n.get("maxDequeueCount"), at+"maxDequeueCount", c.MaxDequeueCount, 1, math.MaxInt32)
	c.MaxPollingInterval = r.span(n.get("maxPollingInterval"), at+"maxPollingInterval", c.MaxPollingInterval)
	if c.MaxPollingInterval < minQueuePolling {
		r.at(n.get("maxPollingInterval"), `write "00:00:02" for two seconds`, at+"maxPollingInterval must be at least 00:00:00.1")
	}
	c.VisibilityTimeout = r.span(n.get("visibilityTimeout"), at+"visibilityTimeout", 0)
	if c.VisibilityTimeout < 0 || c.VisibilityTimeout > maxQueueVisibility {
		r.at(n.get("visibilityTimeout"), "", at+"visibilityTimeout must be from 0 to 7 days")
	}
	if e := choice(r, n.get("messageEncoding"), at+"messageEncoding", EncodingBase64, EncodingNone); e != "" {
		c.MessageEncoding = e
	}
	return c
}
