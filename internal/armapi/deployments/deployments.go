// Package deployments serves Microsoft.Resources/deployments: templates are read,
// their resources are deployed in order through the same management API as the
// caller would, and what came of it is kept. What templates mean is in package
// template; it does not know what any resource type means.
package deployments

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/inventory"
)

// Config is what a Service works with.
type Config struct {
	Inventory *inventory.Inventory
	// Invoke makes the calls of a deployment, as the caller who started it.
	Invoke func(ctx context.Context, in arm.Inner) (status int, body []byte, err error)
	// Active tells whether a principal may still act, which a deployment that goes
	// on for long asks before each call; nil is always.
	Active         func(ctx context.Context, objectID string) error
	TenantID       string
	SubscriptionID string
	Node           string // whose deployments end with it
	Clock          clock.Clock
	Log            *slog.Logger

	// Running is how many deployments run at once on this node, Waiting how many
	// may wait for that; 0 is 8 and 64.
	Running, Waiting int
	// Longest is how long a deployment may take; 0 is an hour.
	Longest time.Duration
	// Patience is how long a request waits for its deployment to end before it is
	// told to ask later; 0 is two seconds.
	Patience time.Duration
}

// Service serves the operations. It is safe for concurrent use. Close ends it.
type Service struct {
	cfg     Config
	ctx     context.Context // of all deployments
	stop    context.CancelCauseFunc
	started time.Time
	running chan struct{}
	group   sync.WaitGroup

	mu     sync.Mutex
	closed bool
	jobs   map[string]*job // by deployment, in lower case
}

// New makes a Service. It fails for a Config that leaves out what has no default.
func New(cfg Config) (*Service, error) {
	if cfg.Inventory == nil || cfg.Invoke == nil || cfg.TenantID == "" || cfg.SubscriptionID == "" {
		return nil, errors.New("deployments: Inventory, Invoke, TenantID and SubscriptionID must be set")
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.Real{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Running, cfg.Waiting = orDefault(cfg.Running, 8), orDefault(cfg.Waiting, 64)
	cfg.Longest, cfg.Patience = orDefault(cfg.Longest, time.Hour), orDefault(cfg.Patience, 2*time.Second)
	s := &Service{cfg: cfg, started: cfg.Clock.Now(), running: make(chan struct{}, cfg.Running), jobs: map[string]*job{}}
	s.ctx, s.stop = context.WithCancelCause(context.Background())
	return s, nil
}

func orDefault[T ~int | ~int64](v, other T) T {
	if v == 0 {
		return other
	}
	return v
}

// errStopped is why deployments end when their node does.
var errStopped = errors.New("the node that ran the deployment was stopped")

// Close ends all deployments of this node as failed and waits until that is
// recorded. Deployments that are started afterwards are refused.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop(errStopped)
	s.group.Wait()
}

// Paths of deployments and what belongs to them.
const (
	inGroup        = "/subscriptions/{subscription}/resourceGroups/{group}"
	inSubscription = "/subscriptions/{subscription}"
	collection     = "/providers/Microsoft.Resources/deployments"
	one            = collection + "/{deployment}"
	management     = "/providers/Microsoft.Management/managementGroups/{managementGroup}"
)

// Type is the resource type of deployments.
const Type = "Microsoft.Resources/deployments"

// Operations gives what the service serves.
func (s *Service) Operations() []arm.Operation {
	var list []arm.Operation
	for _, scope := range []string{inGroup, inSubscription} {
		list = append(list,
			arm.Operation{Method: "GET", Pattern: scope + collection, Handler: s.list},
			arm.Operation{Method: "PUT", Pattern: scope + one, Handler: s.put},
			arm.Operation{Method: "GET", Pattern: scope + one, Handler: s.get},
			arm.Operation{Method: "DELETE", Pattern: scope + one, Handler: s.delete},
			arm.Operation{Method: "POST", Pattern: scope + one + "/validate", Handler: s.validate},
			arm.Operation{Method: "POST", Pattern: scope + one + "/whatIf", Handler: s.whatIf},
			arm.Operation{Method: "POST", Pattern: scope + one + "/cancel", Handler: s.cancel},
			arm.Operation{Method: "POST", Pattern: scope + one + "/exportTemplate", Handler: s.export, Reads: true},
			arm.Operation{Method: "GET", Pattern: scope + one + "/operationStatuses/{operation}", Action: readStatus, Handler: s.status},
			arm.Operation{Method: "GET", Pattern: scope + one + "/operations", Action: readOperations, Handler: s.operations},
			arm.Operation{Method: "GET", Pattern: scope + one + "/operations/{operation}", Action: readOperations, Handler: s.operation},
			// Some clients leave the provider out here.
			arm.Operation{Method: "GET", Pattern: scope + "/deployments/{deployment}/operations", Action: readOperations, Handler: s.operations},
			arm.Operation{Method: "GET", Pattern: scope + "/deployments/{deployment}/operations/{operation}", Action: readOperations, Handler: s.operation},
		)
	}
	for _, scope := range []string{"", management} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			list = append(list, arm.Operation{Method: method, Pattern: scope + one, Action: arm.Open, Handler: unsupportedScope})
		}
		list = append(list,
			arm.Operation{Method: "GET", Pattern: scope + collection, Action: arm.Open, Handler: unsupportedScope},
			arm.Operation{Method: "POST", Pattern: scope + one + "/{action}", Action: arm.Open, Handler: unsupportedScope})
	}
	return list
}

const (
	readOperations = "Microsoft.Resources/deployments/operations/read"
	readStatus     = "Microsoft.Resources/deployments/operationStatuses/read"
)

func unsupportedScope(*arm.Call) (arm.Reply, error) {
	return arm.Reply{}, arm.Faultf(400, "DeploymentScopeNotSupported",
		"Deployments to the tenant or to management groups are not supported. Deploy to a resource group or to the subscription.")
}
