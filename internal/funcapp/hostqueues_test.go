package funcapp

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestQueueOptions(t *testing.T) {
	tests := map[string]struct {
		host string
		env  Env
		want QueuesConfig
	}{
		"defaults": {host: `{"version": "2.0"}`, want: QueuesConfig{16, 8, time.Minute, 0, 5, "base64"}},
		"all given": {
			host: `{"version": "2.0", "extensions": {"queues": {"batchSize": 32, "newBatchThreshold": 1, "maxPollingInterval": "00:00:02",
				"visibilityTimeout": "00:00:30", "maxDequeueCount": 3, "messageEncoding": "None"}}}`,
			want: QueuesConfig{32, 1, 2 * time.Second, 30 * time.Second, 3, "none"},
		},
		"the threshold follows the batch": {
			host: `{"version": "2.0", "extensions": {"queues": {"batchSize": 4}}}`, want: QueuesConfig{4, 2, time.Minute, 0, 5, "base64"},
		},
		"by a setting": {
			host: `{"version": "2.0"}`, env: Env{"AzureFunctionsJobHost__extensions__queues__batchSize": "2"},
			want: QueuesConfig{2, 1, time.Minute, 0, 5, "base64"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			app := load(t, appDir(t, map[string]string{"host.json": tt.host}), tt.env)
			if diff := cmp.Diff(tt.want, app.Host.Queues); diff != "" || len(app.Faults) > 0 {
				t.Error(diff, app.Faults)
			}
		})
	}
}

func TestQueueOptionFaultsNameTheField(t *testing.T) {
	for field, value := range map[string]string{
		"batchSize": "33", "newBatchThreshold": "-1", "maxDequeueCount": "0", "maxPollingInterval": `"00:00:00.05"`,
		"visibilityTimeout": `"8.00:00:00"`, "messageEncoding": `"utf8"`,
	} {
		app := load(t, appDir(t, map[string]string{"host.json": `{"version": "2.0", "extensions": {"queues": {"` + field + `": ` + value + `}}}`}), nil)
		if len(app.Faults) != 1 || !strings.Contains(app.Faults[0].Message, "extensions.queues."+field) {
			t.Errorf("%s: %v", field, app.Faults)
		}
	}
}
