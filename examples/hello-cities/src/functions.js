const { app } = require('@azure/functions');
const df = require('durable-functions');

// One activity after the other. The orchestrator is replayed whenever one ends, and
// goes on where it was after a restart of the host.
df.app.orchestration('helloCities', function* (context) {
    const greetings = [];
    for (const city of ['Tokyo', 'Seattle', 'London']) {
        greetings.push(yield context.df.callActivity('sayHello', city));
    }
    return greetings;
});

df.app.activity('sayHello', { handler: (city) => `Hello ${city}!` });

// Waits for somebody to say yes, at most for an hour.
df.app.orchestration('approval', function* (context) {
    const hour = new Date(context.df.currentUtcDateTime.getTime() + 60 * 60 * 1000);
    const late = context.df.createTimer(hour);
    const answer = context.df.waitForExternalEvent('answer');
    const first = yield context.df.Task.any([answer, late]);
    if (first === late) {
        return 'nobody answered';
    }
    late.cancel();
    return answer.result === 'yes' ? 'approved' : 'refused';
});

app.http('start', {
    route: 'start/{orchestrator}',
    methods: ['POST'],
    authLevel: 'function',
    extraInputs: [df.input.durableClient()],
    handler: async (request, context) => {
        const client = df.getClient(context);
        const id = await client.startNew(request.params.orchestrator);
        return client.createCheckStatusResponse(request, id);
    },
});
