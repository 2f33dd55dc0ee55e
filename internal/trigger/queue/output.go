package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/trigger/expression"
	"github.com/latchkey/latchkey/internal/trigger/queue/account"
	"github.com/latchkey/latchkey/internal/trigger/queue/message"
	"github.com/latchkey/latchkey/internal/worker"
)

type sink struct{ cfg Config }

// Type implements [trigger.Sink].
func (sink) Type() string { return OutputType }

// Check implements [trigger.Sink].
func (sink) Check(s *trigger.Setup) []funcapp.Fault {
	return check(s, func(t expression.Template) error {
		if t.Constant() {
			return message.CheckName(strings.ToLower(t.String()))
		}
		return nil
	})
}

// Output implements [trigger.Sink].
func (si sink) Output(s *trigger.Setup) (trigger.Output, error) {
	name, _ := queueName(s.Binding)
	t, err := expression.Parse(name)
	if err != nil {
		return nil, err
	}
	a, err := si.cfg.open(s)
	if err != nil {
		return nil, err
	}
	return &output{account: a, name: t, encoding: s.Host.Queues.MessageEncoding, clock: s.Clock}, nil
}

type output struct {
	account  *account.Account
	name     expression.Template
	encoding string
	clock    clock.Clock
}

// Send implements [trigger.Output]. The messages of a list are sent one after the
// other, in its order; after a failure those before it stay sent. All errors are
// problem.Internal: whoever called the function did nothing wrong.
func (o *output) Send(ctx context.Context, inv *worker.Invocation, value json.RawMessage, b []byte) error {
	texts, err := message.Texts(value, b, o.encoding)
	if err != nil || len(texts) == 0 {
		return asFailure(err)
	}
	name, err := o.name.Expand(expression.Of(inv, o.clock.Now()))
	if err != nil {
		return asFailure(err)
	}
	name = strings.ToLower(name)
	if err := message.CheckName(name); err != nil {
		return asFailure(fmt.Errorf("queueName %q: %w", o.name, err))
	}
	q := o.account.Queue(name)
	for n, text := range texts {
		if err := q.Send(ctx, text); err != nil {
			return asFailure(fmt.Errorf("message %d of %d: %w", n+1, len(texts), err))
		}
	}
	return nil
}

// asFailure makes an error the function's. Its cause is told in words only: it
// could be of a kind that blames the caller.
func asFailure(err error) error {
	if err == nil {
		return nil
	}
	return problem.New(problem.Internal, "a queue message was not sent: "+err.Error()).WithNext(problem.NextOf(err))
}
