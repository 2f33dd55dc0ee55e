const { app } = require('@azure/functions');

// Runs once for each event.
app.eventGrid('orderPlaced', {
    handler: (event, context) => {
        context.log(`order ${event.data.order} of ${event.subject}, ${event.eventType ?? event.type}`);
    },
});
