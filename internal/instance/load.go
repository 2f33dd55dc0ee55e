package instance

import (
	"errors"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
)

// prepare reads the model, publishes it and makes a worker for it, not started
// yet. Faults of the whole app are an error.
func (r *runner) prepare() (*Model, worker.Worker, error) {
	model, err := r.cfg.Load()
	if err != nil {
		return nil, nil, err
	}
	if len(model.App.Faults) > 0 {
		r.publish(model, nil)
		return nil, nil, problem.Wrap(problem.Invalid, "the app cannot be started", faulty(model.App.Faults))
	}
	wk, err := r.cfg.NewWorker(model)
	switch _, indexes := wk.(worker.Indexer); {
	case !indexes:
		r.publish(model, wk)
	case r.model.Load() == nil:
		unindexed := *model
		unindexed.Unindexed = true
		r.publish(&unindexed, wk)
	default:
		r.watch.follow(model.App, extensionsOf(wk))
	}
	return model, wk, err
}

// publish makes model the one that is shown.
func (r *runner) publish(model *Model, wk worker.Worker) {
	r.model.Store(model)
	r.watch.follow(model.App, extensionsOf(wk))
	if r.cfg.OnModel != nil {
		r.cfg.OnModel(model)
	}
}

// adopt gives the model with the functions that a worker found, once it has
// started; the same one if it leaves that to the app's files.
func (r *runner) adopt(model *Model, wk worker.Worker) *Model {
	indexer, ok := wk.(worker.Indexer)
	if !ok {
		return model
	}
	if functions, found := indexer.Indexed(); found && r.cfg.Index != nil {
		model = r.cfg.Index(model, functions)
	}
	if r.model.Load() != model {
		r.publish(model, wk)
	}
	return model
}

func extensionsOf(wk worker.Worker) []string {
	if s, ok := wk.(worker.Scripted); ok {
		return s.Extensions()
	}
	return nil
}

// faulty are the faults that keep a whole app from starting.
type faulty []funcapp.Fault

func (f faulty) Error() string {
	errs := make([]error, len(f))
	for n, fault := range f {
		errs[n] = errors.New(fault.String())
	}
	return errors.Join(errs...).Error()
}

// faultTexts gives each fault of the app that err is about; nil if it is about
// something else.
func faultTexts(err error) []string {
	var faults faulty
	if !errors.As(err, &faults) {
		return nil
	}
	texts := make([]string, len(faults))
	for n, fault := range faults {
		texts[n] = fault.String()
	}
	return texts
}
