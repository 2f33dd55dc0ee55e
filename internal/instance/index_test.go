package instance

import (
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/worker"
)

// indexingWorker is a worker that finds the functions itself, and takes its time.
type indexingWorker struct {
	*fakeWorker
	found []funcapp.Function
	ok    bool
}

func (w *indexingWorker) Indexed() ([]funcapp.Function, bool) { return w.found, w.ok }
func (w *indexingWorker) StartTimeout() time.Duration         { return 3 * time.Hour }
func (w *indexingWorker) PIDs() []int                         { return []int{7, 8} }

func TestAWorkersFunctionsTakeThePlaceOfThoseOfFiles(t *testing.T) {
	for _, ok := range []bool{true, false} {
		var made *indexingWorker
		var told sync.Map // functions by whether the worker was yet to tell them
		e := newEnv(t, func(cfg *Config) {
			cfg.OnModel = func(m *Model) { told.Store(m.Unindexed, m.Names()[0]) }
			plain := cfg.NewWorker
			cfg.NewWorker = func(m *Model) (worker.Worker, error) {
				wk, err := plain(m)
				made = &indexingWorker{wk.(*fakeWorker), []funcapp.Function{{Name: "found"}}, ok}
				return made, err
			}
			cfg.Index = func(m *Model, list []funcapp.Function) *Model {
				return &Model{App: m.App, Functions: list, Settings: m.Settings}
			}
		})
		e.run()
		e.state(Running)
		e.timer(3*time.Hour, 1) // its own limit
		l := e.enter()
		want := map[bool]string{true: "found", false: "Hello"}[ok]
		if len(l.Functions) != 1 || l.Functions[0].Name != want || e.Model() != l.Model {
			t.Errorf("functions %+v, want %s", l.Functions, want)
		}
		if name, _ := told.Load(false); name != want || l.Unindexed {
			t.Errorf("told of %v, want %s", name, want)
		}
		if name, _ := told.Load(true); name != "Hello" {
			t.Errorf("told of %v before the worker ran", name)
		}
		if pids := e.Workers(); len(pids) != 2 {
			t.Errorf("processes %v", pids)
		}
		l.Leave()
	}
}
